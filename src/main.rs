use musterroll::*;
use std::sync::Arc;
#[tokio::main]
async fn main() {
    let args: Vec<String> = std::env::args().collect();
    let root = std::path::PathBuf::from(&args[1]).canonicalize().unwrap();
    let project = project::load(&root, &|name| std::env::var(name).ok());
    let as_of = args.get(3).map(|d| format!("{d}T00:00:00Z").parse().unwrap());
    let (_tx, rx) = tokio::sync::watch::channel(false);
    let request = run::Request {
        command: "try".into(),
        select: vec![],
        as_of,
        now: chrono::Utc::now(),
        force: false,
        allow_large_change: false,
        retry_rejected: false,
        baseline: false,
        seed: 1,
        cancel: rx,
        progress: Arc::new(|p| eprintln!("{p:?}")),
    };
    if args[2] == "plan" {
        match run::plan(&project, &request, run::Detail { payloads: 1, sql: true }).await {
            Ok(plan) => {
                println!("{}", serde_json::to_string_pretty(&plan).unwrap().replace("\\n", "\n"))
            }
            Err(r) => {
                for f in r.findings {
                    eprintln!("{f:#?}")
                }
            }
        }
    } else {
        match run::run(&project, &request).await {
            Ok(report) => {
                for s in &report.record.syncs {
                    println!("{}", serde_json::to_string(s).unwrap());
                }
                for f in report.findings {
                    println!("{} {} {:?} {:?}", f.code, f.message, f.notes, f.hint);
                }
                println!("exit {} requests {}", report.record.exit_code, report.record.requests)
            }
            Err(r) => {
                for f in r.findings {
                    eprintln!(
                        "{} {} {:?} {:?} {:?}",
                        f.code,
                        f.message,
                        f.notes,
                        f.hint,
                        f.place.map(|p| (p.source.path.clone(), p.span))
                    )
                }
            }
        }
    }
}
