//! redis-rs: one connection that all tasks share, so that their commands are pipelined.

use std::sync::Arc;

use redis::aio::MultiplexedConnection;
use redis::io::tcp::TcpSettings;
use redis::{AsyncCommands, AsyncConnectionConfig, Client, IntoConnectionInfo};

use crate::meter::Window;
use crate::peers;
use crate::sample::{Miss, Outcome};
use crate::scenarios::rows::{Asking, Keys, check_value, failed};

pub fn run(url: String, asking: Asking) -> Outcome {
    peers::tokio_current_thread()?.block_on(async move {
        let info = url.into_connection_info().map_err(|e| failed("the URL", e))?;
        let tcp = TcpSettings::default().set_nodelay(true);
        let client = Client::open(info.set_tcp_settings(tcp)).map_err(|e| failed("open", e))?;
        // By default a timer is set for every command.
        let config = AsyncConnectionConfig::new().set_response_timeout(None);
        let connected = client.get_multiplexed_async_connection_with_config(&config).await;
        let connection = connected.map_err(|e| failed("connect", e))?;
        let window = Arc::new(asking.window());
        let tasks = (0..asking.tasks)
            .map(|task| tokio::spawn(ask(connection.clone(), Arc::clone(&window), asking, task)));
        for task in tasks.collect::<Vec<_>>() {
            task.await.map_err(peers::failed)??;
        }
        asking.sample(&window)
    })
}

async fn ask(
    mut connection: MultiplexedConnection,
    window: Arc<Window>,
    asking: Asking,
    task: usize,
) -> Result<(), Miss> {
    let mut keys = Keys::of_task(task);
    for key in keys.by_ref().take(asking.warm as usize) {
        one(&mut connection, key).await?;
    }
    window.open();
    for key in keys.take(asking.counted as usize) {
        one(&mut connection, key).await?;
    }
    window.close();
    Ok(())
}

async fn one(connection: &mut MultiplexedConnection, key: u32) -> Result<(), Miss> {
    let value: String = connection.get(key).await.map_err(|e| failed("get", e))?;
    check_value(key, &value)
}
