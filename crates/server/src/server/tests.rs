mod fragile;
mod panics;

use super::*;
use crate::config::{ConfigFlags, FlagSetting, Secret};

async fn start(path: &std::path::Path) -> Result<Server, Error> {
    let path = path.display().to_string();
    let settings = [("urls", "http://127.0.0.1:0"), ("storage.sqlite.path", &path)];
    let settings = settings.map(|(key, value)| FlagSetting {
        key: key.to_owned(),
        value: Secret::new(value),
        flag: format!("--{key}"),
    });
    let flags = ConfigFlags { settings: settings.to_vec(), ..ConfigFlags::default() };
    Server::start(Config::load(&flags, std::iter::empty()).unwrap()).await
}

#[tokio::test]
async fn a_file_that_cannot_be_used_is_a_mistake_of_its_setting() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("test.db");
    let text = directory.path().join("text");
    std::fs::write(&text, "no database").unwrap();
    let _first = start(&path).await.unwrap();
    for (path, expected) in [
        (path, "another process uses this file; stop that process"),
        (directory.path().join("absent/test.db"), "does not exist; make it or choose another"),
        (directory.path().to_owned(), "expected the path of a file"),
        (text, "was made by another program; choose another path"),
    ] {
        let error = start(&path).await.unwrap_err();
        assert!(error.is_configuration());
        let line = error.to_string();
        assert!(line.starts_with("storage.sqlite.path: "), "{line}");
        assert!(line.contains(expected) && !line.contains('\n'), "{line}");
    }
}
