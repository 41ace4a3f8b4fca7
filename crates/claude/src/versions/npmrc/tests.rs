//! What npm would do with the same files.

use super::*;
use tempfile::TempDir;

/// A home, a project and a machine of its own.
struct World {
    dir: TempDir,
    env: HashMap<String, String>,
}

impl World {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        for name in ["home", "project"] {
            fs::create_dir(dir.path().join(name)).unwrap();
        }
        let global = dir.path().join("npmrc").to_string_lossy().into_owned();
        let env = HashMap::from([("npm_config_globalconfig".to_owned(), global)]);
        Self { dir, env }
    }

    fn file(self, name: &str, text: &str) -> Self {
        fs::write(self.dir.path().join(name), text).unwrap();
        self
    }

    fn env(mut self, name: &str, value: &str) -> Self {
        self.env.insert(name.to_owned(), value.to_owned());
        self
    }

    fn read(&self) -> Result<Settings, ConfigError> {
        let env = |name: &str| self.env.get(name).cloned();
        Settings::read(
            &env,
            &self.dir.path().join("project"),
            &self.dir.path().join("home"),
        )
    }

    fn registry(&self) -> String {
        self.read().unwrap().registry
    }
}

#[test]
fn without_settings_the_public_registry_is_used() {
    assert_eq!(World::new().registry(), DEFAULT_REGISTRY);
}

#[test]
fn the_nearer_setting_wins_and_the_scope_wins_over_all() {
    let world = World::new().file("npmrc", "registry=https://machine.example/npm\n");
    assert_eq!(world.registry(), "https://machine.example/npm/");
    let world = world.file(
        "home/.npmrc",
        "; mine\nregistry = \"https://user.example\"\n",
    );
    assert_eq!(world.registry(), "https://user.example/");
    let world = world.file("project/.npmrc", "registry=https://project.example/");
    assert_eq!(world.registry(), "https://project.example/");
    let world = world.env("NPM_CONFIG_REGISTRY", "https://variable.example/");
    assert_eq!(world.registry(), "https://variable.example/");
    let world = world.file("npmrc", "@anthropic-ai:registry=https://scope.example/");
    assert_eq!(world.registry(), "https://scope.example/");
}

#[test]
fn variables_are_put_in() {
    let world = World::new().env("HOST", "own.example").file(
        "home/.npmrc",
        "registry=https://${HOST}/${NONE?}${OPEN\n//own.example/:_authToken=${TOKEN}",
    );
    let settings = world.read().unwrap();
    assert_eq!(settings.registry, "https://own.example/${OPEN/");
    let url = reqwest::Url::parse("https://own.example/x").unwrap();
    assert_eq!(
        settings.credentials.header(&url).as_deref(),
        Some("Bearer ${TOKEN}")
    );
}

#[test]
fn credentials_are_for_their_place_alone_and_never_shown() {
    let world = World::new().file(
        "home/.npmrc",
        "//a.example/npm/:_authToken=inner\n//a.example/:_auth=b3V0ZXI=\n\
         //b.example:81/:username=me\n//b.example:81/:_password=c2VjcmV0\n_authToken=nowhere\n",
    );
    let settings = world.read().unwrap();
    let header = |url: &str| {
        settings
            .credentials
            .header(&reqwest::Url::parse(url).unwrap())
    };
    assert_eq!(
        header("https://a.example/npm/@x%2fy").as_deref(),
        Some("Bearer inner")
    );
    assert_eq!(
        header("https://a.example/npmx/y").as_deref(),
        Some("Basic b3V0ZXI=")
    );
    assert_eq!(
        header("https://b.example:81/y").as_deref(),
        Some("Basic bWU6c2VjcmV0")
    );
    assert_eq!(header("https://b.example/y"), None);
    assert_eq!(header("https://a.example.evil.example/"), None);
    assert!(!format!("{settings:?}").contains("inner"));
}

#[test]
fn proxies_come_from_npm_and_then_from_the_usual_variables() {
    let world = World::new()
        .env("HTTPS_PROXY", "http://env:1")
        .env("no_proxy", "localhost");
    let settings = world.read().unwrap();
    assert_eq!(settings.https_proxy.as_deref(), Some("http://env:1"));
    assert_eq!(settings.no_proxy.as_deref(), Some("localhost"));
    let world = world.file("npmrc", "https-proxy=http://npm:2\nproxy=null\n");
    let settings = world.read().unwrap();
    assert_eq!(settings.https_proxy.as_deref(), Some("http://npm:2"));
    assert_eq!(settings.http_proxy, None);
}

#[test]
fn what_cannot_be_used_is_named() {
    let registry = World::new()
        .file("npmrc", "registry=ftp://me:pass@host/")
        .read();
    let text = registry.unwrap_err().to_string();
    assert!(text.contains("host/") && !text.contains("pass"), "{text}");
    let certificates = World::new().file("npmrc", "cafile=/nowhere/ca.pem").read();
    assert!(matches!(
        certificates,
        Err(ConfigError::Certificates { .. })
    ));
    let unreadable = World::new();
    fs::create_dir(unreadable.dir.path().join("project/.npmrc")).unwrap();
    assert!(matches!(unreadable.read(), Err(ConfigError::Read { .. })));
}
