//! nginx with a configuration of its own, as one process.

use std::fs;
use std::io;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::Command;

use super::Place;
use crate::nginx;
use crate::sample::Miss;
use crate::scenarios::http::exchange::HELLO;

/// Becomes nginx, which inherits the core.
pub fn hello(place: &Place) -> Result<(), Miss> {
    let (program, _) =
        nginx::find().ok_or_else(|| Miss::Failed("it is not installed".to_owned()))?;
    fs::create_dir_all(&place.folder)?;
    let file = place.folder.join("nginx.conf");
    fs::write(&file, configuration(place))?;
    let error = Command::new(program).arg("-p").arg(&place.folder).arg("-c").arg(&file).exec();
    Err(io::Error::other(format!("{program} cannot be started: {error}")).into())
}

fn configuration(place: &Place) -> String {
    let Place { address, folder } = place;
    let folder: &Path = folder;
    let temporary: String = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"]
        .map(|name| format!("    {name}_temp_path {};\n", folder.join(name).display()))
        .concat();
    format!(
        "daemon off;
master_process off;
worker_processes 1;
worker_rlimit_nofile 20000;
pid {pid};
error_log stderr crit;
events {{
    use epoll;
    worker_connections 16384;
}}
http {{
    access_log off;
    default_type \"text/plain; charset=utf-8\";
    keepalive_requests 1000000000;
    tcp_nodelay on;
{temporary}    server {{
        listen {address} backlog=1024;
        location / {{ return 200 \"{HELLO}\"; }}
    }}
}}
",
        pid = folder.join("nginx.pid").display(),
    )
}
