//! Whether this process runs in a container.

/// Files that container engines put into the root.
const MARKERS: [&str; 2] = ["/.dockerenv", "/run/.containerenv"];
/// Names of engines in the cgroup path of PID 1 (cgroup v1, or v2 without a
/// namespace of its own).
const ENGINES: [&str; 4] = ["kubepods", "docker", "containerd", "lxc"];

/// What shows that this process runs in a container: the path of a marker
/// file, or `/proc/1/cgroup (docker)`. None when nothing does.
pub fn container_marker() -> Option<String> {
    if let Some(marker) = MARKERS
        .iter()
        .find(|path| std::fs::exists(path).unwrap_or(false))
    {
        return Some((*marker).to_owned());
    }
    // Unreadable or not there: not Linux, or nothing to learn.
    let cgroup = std::fs::read_to_string("/proc/1/cgroup").ok()?;
    engine(&cgroup).map(|engine| format!("/proc/1/cgroup ({engine})"))
}

fn engine(cgroup: &str) -> Option<&'static str> {
    ENGINES.into_iter().find(|engine| cgroup.contains(engine))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn engines_by_cgroup() {
        assert_eq!(engine("12:pids:/docker/4f3a\n0::/\n"), Some("docker"));
        assert_eq!(
            engine("1:name=systemd:/kubepods/burstable/pod1/x"),
            Some("kubepods")
        );
        assert_eq!(engine("2:cpu:/lxc/web\n"), Some("lxc"));
        assert_eq!(engine("0::/init.scope\n"), None);
        assert_eq!(engine(""), None);
    }

    #[test]
    fn a_marker_file_is_named() {
        if std::path::Path::new("/.dockerenv").exists() {
            assert_eq!(container_marker().as_deref(), Some("/.dockerenv"));
        }
    }
}
