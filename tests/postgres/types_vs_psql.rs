//! Values as the client sees them, compared with what psql prints of the same data.

use std::collections::HashMap;
use std::time::{Duration, SystemTime};

use cede::postgres::types::{FromSql, Kind, Type};
use cede::postgres::{Client, Error, Row};

use crate::postgres::Postgres;
use crate::with_client;

/// Any value, turned into the text that psql prints for it, from the binary format alone.
struct Printed(String);

type Failed = Box<dyn std::error::Error + Sync + Send>;

impl<'a> FromSql<'a> for Printed {
    fn from_sql(ty: &Type, raw: &'a [u8]) -> Result<Self, Failed> {
        print(ty, raw).map(Self)
    }

    fn accepts(_: &Type) -> bool {
        true
    }
}

fn int<const N: usize>(raw: &[u8], at: usize) -> Result<[u8; N], Failed> {
    raw.get(at..).and_then(|raw| raw.first_chunk()).copied().ok_or_else(|| "cut short".into())
}

fn print(ty: &Type, raw: &[u8]) -> Result<String, Failed> {
    if let Kind::Array(element) = ty.kind() {
        return array(element, raw);
    }
    if let Kind::Enum(_) = ty.kind() {
        return Ok(String::from_utf8(raw.to_vec())?);
    }
    Ok(match *ty {
        Type::BOOL => if bool::from_sql(ty, raw)? { "t" } else { "f" }.into(),
        Type::INT2 => i16::from_sql(ty, raw)?.to_string(),
        Type::INT4 => i32::from_sql(ty, raw)?.to_string(),
        Type::INT8 => i64::from_sql(ty, raw)?.to_string(),
        Type::OID => u32::from_sql(ty, raw)?.to_string(),
        Type::FLOAT4 => float(f64::from(f32::from_sql(ty, raw)?), |_| {
            format!("{}", f32::from_sql(ty, raw).unwrap())
        }),
        Type::FLOAT8 => float(f64::from_sql(ty, raw)?, |value| format!("{value}")),
        Type::TEXT | Type::VARCHAR | Type::BPCHAR | Type::NAME | Type::JSON | Type::XML => {
            String::from_utf8(raw.to_vec())?
        }
        // A version, then the text.
        Type::JSONB => String::from_utf8(raw.get(1..).ok_or("cut short")?.to_vec())?,
        Type::BYTEA => {
            let hex: String =
                <&[u8]>::from_sql(ty, raw)?.iter().map(|b| format!("{b:02x}")).collect();
            format!("\\x{hex}")
        }
        Type::UUID => {
            let hex: String = raw.iter().map(|b| format!("{b:02x}")).collect();
            let parts = [&hex[..8], &hex[8..12], &hex[12..16], &hex[16..20], &hex[20..]];
            parts.join("-")
        }
        Type::NUMERIC => numeric(raw)?,
        Type::DATE => date(i64::from(i32::from_be_bytes(int(raw, 0)?))),
        Type::TIME => time(i64::from_be_bytes(int(raw, 0)?)),
        Type::TIMESTAMP => timestamp(i64::from_be_bytes(int(raw, 0)?)),
        Type::TIMESTAMPTZ => {
            let text = timestamp(i64::from_be_bytes(int(raw, 0)?));
            if text.ends_with("infinity") { text } else { text + "+00" }
        }
        Type::INET => std::net::IpAddr::from_sql(ty, raw)?.to_string(),
        ref ty => return Err(format!("{ty} is not printed here").into()),
    })
}

fn float(value: f64, finite: impl FnOnce(f64) -> String) -> String {
    match value {
        value if value.is_nan() => "NaN".into(),
        f64::INFINITY => "Infinity".into(),
        f64::NEG_INFINITY => "-Infinity".into(),
        value => finite(value),
    }
}

fn array(element: &Type, raw: &[u8]) -> Result<String, Failed> {
    let dimensions = i32::from_be_bytes(int(raw, 0)?);
    if dimensions == 0 {
        return Ok("{}".into());
    }
    let mut sizes = Vec::new();
    let mut at = 12;
    for _ in 0..dimensions {
        sizes.push(i32::from_be_bytes(int(raw, at)?) as usize);
        at += 8;
    }
    nested(element, raw, &mut at, &sizes)
}

fn nested(element: &Type, raw: &[u8], at: &mut usize, sizes: &[usize]) -> Result<String, Failed> {
    let Some((size, inner)) = sizes.split_first() else {
        let len = i32::from_be_bytes(int(raw, *at)?);
        *at += 4;
        if len < 0 {
            return Ok("NULL".into());
        }
        let end = *at + len as usize;
        let text = print(element, raw.get(*at..end).ok_or("cut short")?)?;
        *at = end;
        let plain = !text.is_empty()
            && !text.eq_ignore_ascii_case("null")
            && !text.contains(|c: char| c.is_whitespace() || "{},\"\\".contains(c));
        return Ok(if plain {
            text
        } else {
            format!("\"{}\"", text.replace('\\', "\\\\").replace('"', "\\\""))
        });
    };
    let parts: Result<Vec<_>, _> = (0..*size).map(|_| nested(element, raw, at, inner)).collect();
    Ok(format!("{{{}}}", parts?.join(",")))
}

/// Digits of base 10,000 (PostgreSQL's `numeric_send`).
fn numeric(raw: &[u8]) -> Result<String, Failed> {
    let word = |i: usize| int(raw, i * 2).map(i16::from_be_bytes);
    let (count, weight, sign, scale) = (word(0)? as usize, word(1)?, word(2)? as u16, word(3)?);
    match sign {
        0xc000 => return Ok("NaN".into()),
        0xd000 => return Ok("Infinity".into()),
        0xf000 => return Ok("-Infinity".into()),
        _ => {}
    }
    let digit = |place: i32| -> Result<i16, Failed> {
        let index = i32::from(weight) - place;
        if (0..count as i32).contains(&index) { word(4 + index as usize) } else { Ok(0) }
    };
    let mut whole = String::new();
    for place in (0..=i32::from(weight).max(0)).rev() {
        whole += &format!("{:04}", digit(place)?);
    }
    let whole = whole.trim_start_matches('0');
    let mut text = if sign == 0x4000 { String::from("-") } else { String::new() };
    text += if whole.is_empty() { "0" } else { whole };
    if scale > 0 {
        let mut fraction = String::new();
        let mut place = -1;
        while fraction.len() < scale as usize {
            fraction += &format!("{:04}", digit(place)?);
            place -= 1;
        }
        text = format!("{text}.{}", &fraction[..scale as usize]);
    }
    Ok(text)
}

/// Days since 2000-01-01, in the calendar that goes on for ever in both directions.
fn date(days: i64) -> String {
    match days {
        2_147_483_647 => return "infinity".into(),
        -2_147_483_648 => return "-infinity".into(),
        _ => {}
    }
    // Since the first day of year 1.
    let days = days + 730_119;
    let before = |year: i64| {
        let years = year - 1;
        years * 365 + years.div_euclid(4) - years.div_euclid(100) + years.div_euclid(400)
    };
    let mut year = days.div_euclid(if days < 0 { 365 } else { 366 }) + 1;
    while before(year + 1) <= days {
        year += 1;
    }
    let leap = year.rem_euclid(4) == 0 && (year.rem_euclid(100) != 0 || year.rem_euclid(400) == 0);
    let mut day = days - before(year);
    let months = [31, if leap { 29 } else { 28 }, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31];
    let mut month = 0;
    while day >= months[month] {
        day -= months[month];
        month += 1;
    }
    if year > 0 {
        format!("{year:04}-{:02}-{:02}", month + 1, day + 1)
    } else {
        format!("{:04}-{:02}-{:02} BC", 1 - year, month + 1, day + 1)
    }
}

fn time(micros: i64) -> String {
    let (seconds, micros) = (micros / 1_000_000, micros % 1_000_000);
    let text = format!("{:02}:{:02}:{:02}", seconds / 3600, seconds / 60 % 60, seconds % 60);
    if micros == 0 { text } else { format!("{text}.{micros:06}").trim_end_matches('0').to_owned() }
}

fn timestamp(micros: i64) -> String {
    match micros {
        i64::MAX => return "infinity".into(),
        i64::MIN => return "-infinity".into(),
        _ => {}
    }
    const DAY: i64 = 86_400_000_000;
    let (days, rest) = (micros.div_euclid(DAY), micros.rem_euclid(DAY));
    format!("{} {}", date(days), time(rest))
}

fn printed(rows: &[Row]) -> String {
    let line = |row: &Row| {
        let fields: Vec<String> = (0..row.len())
            .map(|i| row.get::<_, Option<Printed>>(i).map_or_else(|| "\\N".into(), |value| value.0))
            .collect();
        fields.join("\u{1}") + "\u{2}"
    };
    rows.iter().map(line).collect()
}

/// What psql prints, with separators that no value here has.
fn psql(sql: &str) -> String {
    let script = format!(
        "set timezone = 'UTC';\n\\pset null '\\\\N'\n\\pset fieldsep '\u{1}'\n\\pset recordsep '\u{2}'\n{sql};"
    );
    Postgres::shared().psql(&script)
}

fn compare(client: &Client, sql: &str) {
    let ours = printed(&client.query(sql, &[]).unwrap());
    let theirs = psql(sql);
    let trim = |text: &str| text.trim_end_matches(['\u{2}', '\n']).to_owned();
    assert_eq!(trim(&ours), trim(&theirs), "{sql}");
}

#[test]
fn values_of_all_common_types() {
    with_client(|client| {
        for sql in [
            "select true, false, null::bool",
            "select (-32768)::int2, 32767::int2, (-2147483648)::int4, 2147483647, 0, null::int4",
            "select (-9223372036854775808)::int8, 9223372036854775807, 4294967295::oid",
            "select 'NaN'::float4, 'infinity'::float8, '-infinity'::float4, 1.5::float4, -0.1::float8",
            "select 0.1::float4, 1e10::float8, 123456.789::float8, 0::float8, 3.4028235::float4",
            "select 'text'::text, ''::text, 'ünïcödé 日本 🦀'::text, 'v'::varchar(5), 'c'::char(5), 'n'::name",
            "select e'tab\\tquote\\'back\\\\slash'::text, repeat('long.', 10000)",
            "select ''::bytea, '\\x00ff10'::bytea, sha256('x'::bytea), decode(repeat('00', 70000), 'hex')",
            "select '{\"a\": [1, null]}'::json, '{\"b\":  1}'::jsonb, 'null'::jsonb",
            "select 'a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11'::uuid, '00000000-0000-0000-0000-000000000000'::uuid",
            "select '192.168.0.1'::inet, '::1'::inet",
            "select (n)::text, n, n * n, n::float8, n % 2 = 0, null::text from generate_series(-50, 50) n",
        ] {
            compare(&client, sql);
        }
    });
}

#[test]
fn numbers_of_any_precision() {
    with_client(|client| {
        compare(
            &client,
            "select v::numeric from unnest(array['0','-0.0','1','-1','10','9999','10000','10001',
             '123456789.000000001','0.0001','0.00001','0.1000','-12345678901234567890.12345',
             '1e100','1e-100','NaN','Infinity','-Infinity','99999999.99999999',
             '100000000','1234.5678','12345.6789']) v",
        );
        compare(
            &client,
            "select (random() * 1e12)::numeric(30, 10) * 0 + n::numeric / 7 from generate_series(-200, 200, 7) n",
        );
        compare(&client, "select 3::numeric ^ 1000, (1::numeric / 3)::numeric(600, 500)");
    });
}

#[test]
fn dates_times_and_zones() {
    with_client(|client| {
        compare(
            &client,
            "select d::date from unnest(array['2000-01-01','1999-12-31','2024-02-29','1900-03-01',
             '0001-01-01','9999-12-31','infinity','-infinity','1970-01-01','0044-03-15 BC']) d",
        );
        compare(
            &client,
            "select '2000-01-01'::date + n from generate_series(-800000, 800000, 997) n where '2000-01-01'::date + n > '0001-01-01'",
        );
        compare(
            &client,
            "select '00:00'::time, '23:59:59.999999'::time, '24:00'::time, '12:34:56.5'::time",
        );
        compare(
            &client,
            "select t::timestamp from unnest(array['2000-01-01','1999-12-31 23:59:59.999999',
             '2038-01-19 03:14:08','infinity','-infinity','1234-05-06 07:08:09.1']) t",
        );
        compare(
            &client,
            "select t::timestamptz from unnest(array['2024-07-01 12:00 Europe/Berlin',
             '2024-01-01 12:00 Europe/Berlin','2024-07-01 12:00+05:30','2024-07-01 12:00 America/New_York',
             '1999-12-31 23:59:59.999999-12','infinity']) t",
        );
        // The zone of the session is that of the text only: the moment is the same.
        let sql = "select '2024-07-01 12:00+02'::timestamptz";
        let before: SystemTime = client.query_one(sql, &[]).unwrap().get(0);
        client.batch_execute("set timezone = 'Asia/Tokyo'").unwrap();
        let after: SystemTime = client.query_one(sql, &[]).unwrap().get(0);
        assert_eq!(before, after);
        let unix = before.duration_since(SystemTime::UNIX_EPOCH).unwrap();
        assert_eq!(unix, Duration::from_secs(1_719_828_000));
        assert_eq!(client.parameter("TimeZone").as_deref(), Some("Asia/Tokyo"));
        let back: bool = client
            .query_one("select $1 = '2024-07-01 10:00Z'::timestamptz", &[&before])
            .unwrap()
            .get(0);
        assert!(back);
    });
}

#[test]
fn arrays_of_any_dimension() {
    with_client(|client| {
        for sql in [
            "select array[1, null, 3], array[]::int[], array[[1, 2], [3, 4]], null::int[]",
            "select array['a', 'b c', 'd,e', '{f}', 'g\"h', 'i\\j', '', 'null', 'NULL', null]",
            "select array[[[1], [2]], [[3], [4]]], array[true, false], array[1.5, null]::numeric[]",
            "select array['2024-01-01'::date, null], array['\\x00'::bytea]",
        ] {
            compare(&client, sql);
        }
        let row = client
            .query_one(
                "select $1::int[], $2::text[], $3::float8[]",
                &[&vec![1, 2], &["a", "b"].as_slice(), &Vec::<f64>::new()],
            )
            .unwrap();
        assert_eq!(row.get::<_, Vec<i32>>(0), [1, 2]);
        assert_eq!(row.get::<_, Vec<&str>>(1), ["a", "b"]);
        assert!(row.get::<_, Vec<f64>>(2).is_empty());
        let with_null: Vec<Option<i32>> =
            client.query_one("select array[1, null]", &[]).unwrap().get(0);
        assert_eq!(with_null, [Some(1), None]);
    });
}

/// What is sent comes back, and is what psql finds in the table.
#[test]
fn parameters_arrive_as_they_are() {
    with_client(|client| {
        client
            .batch_execute(
                "create type public.colour as enum ('red', 'green');
                 create table public.given (n int, b bool, i2 int2, i8 int8, f float8, t text, y bytea,
                     ts timestamptz, a text[], c public.colour)",
            )
            .unwrap();
        let moment = SystemTime::UNIX_EPOCH + Duration::from_micros(1_719_828_000_123_456);
        let texts = ["", "plain", "it's", "\\", "é\n\t", "日本"];
        for (n, text) in texts.iter().enumerate() {
            let bytes: Vec<u8> = (0..=255).cycle().take(n * 1000).collect();
            let n = n as i32;
            let none: Option<bool> = None;
            let array = vec![Some(*text), None];
            client
                .transaction(|tx| {
                    tx.execute(
                        "insert into public.given values ($1, $2, $3, $4, $5, $6, $7, $8, $9, 'green')",
                        &[
                            &n, &none, &(n as i16 - 3), &(i64::from(n) << 40), &(f64::from(n) / 3.0),
                            text, &bytes, &moment, &array,
                        ],
                    )?;
                    Ok::<_, Error>(())
                })
                .unwrap();
            let row = client.query_one("select * from public.given where n = $1", &[&n]).unwrap();
            assert_eq!(row.get::<_, Option<bool>>("b"), None);
            assert_eq!(row.get::<_, i16>("i2"), n as i16 - 3);
            assert_eq!(row.get::<_, f64>("f"), f64::from(n) / 3.0);
            assert_eq!(row.get::<_, &str>("t"), *text);
            assert!(row.get::<_, &[u8]>("y") == bytes);
            assert_eq!(row.get::<_, SystemTime>("ts"), moment);
            assert_eq!(row.get::<_, Vec<Option<String>>>("a"), [Some(text.to_string()), None]);
        }
        compare(&client, "select * from public.given order by n");
        client.batch_execute("drop table public.given; drop type public.colour").unwrap();
        let mut seen = HashMap::new();
        for row in client.query("select 1 as a, 2 as a, 3 as \"A\"", &[]).unwrap() {
            seen.insert("a", row.get::<_, i32>("a"));
            seen.insert("A", row.get::<_, i32>("A"));
        }
        assert_eq!((seen["a"], seen["A"]), (1, 3));
    });
}
