//! One Pod with its container: its start, its probes, its end.

use std::{
    fs,
    os::unix::process::ExitStatusExt as _,
    path::PathBuf,
    process::{Command, ExitStatus},
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, ensure};
use jiff::Timestamp;
use k8s_openapi::api::core::v1::{Pod, Probe};
use kube::{
    Api, ResourceExt as _,
    api::{Patch, PatchParams, PostParams},
};
use serde_json::{Value, json};

use super::{
    Kubelet, Node,
    spec::{environment, user_and_group, write_volume},
};
use crate::harness::{
    http,
    parts::binary,
    process::{Directory, Process, Signal},
};

/// Name of the one node.
pub(super) const NODE: &str = "harness";

/// Runs a program in a mount namespace of its own: `$1` is the hosts file, `$2` the program, `$3` its user and
/// group, `$4` the root directory of its image or nothing, then pairs of a directory and where it is mounted, up to `--`;
/// the rest are variables and the command.
const SANDBOX: &str = r#"
set -e
hosts=$1 program=$2 ids=$3 root=$4
shift 4
mount --make-rprivate /
if [ -n "$root" ]; then
  mount --bind "$root" "$root"
  mkdir -p "$root/etc"
  touch "$root/etc/hosts"
else
  mount -t tmpfs -o mode=755 none /run
  touch /run/program
  mount --bind "$program" /run/program
fi
mount --bind "$hosts" "$root/etc/hosts"
while [ "$1" != -- ]; do
  mkdir -p "$root$2"
  mount --bind "$1" "$root$2"
  shift 2
done
shift
if [ -n "$root" ]; then
  mount -o remount,bind,ro "$root"
  exec setpriv --no-new-privs -- env -i "$@"
fi
mount -o remount,bind,ro /run
mount -o remount,bind,ro /
[ "$(id -u)" != 0 ] || as="--reuid=${ids%:*} --regid=${ids#*:} --clear-groups"
exec setpriv ${as-} --no-new-privs --bounding-set=-all --inh-caps=-all --ambient-caps=-all -- env -i "$@"
"#;

/// Where a container is in its life.
enum Ending {
    /// Its preStop hook sleeps until then.
    Hook(Instant),
    /// It was asked to end, and has time until then.
    Asked(Instant),
}

/// A running container, the only one of its Pod.
pub(super) struct Container {
    process: Process,
    address: String,
    is_ready: bool,
    next_readiness: Instant,
    next_liveness: Instant,
    liveness_failures: i32,
    ending: Option<Ending>,
}

impl Container {
    /// Binds the Pod to the node, prepares its files, and starts its container.
    pub(super) async fn start(node: &Node, pods: &Api<Pod>, pod: &Pod, address: &str) -> Result<Self> {
        let (name, namespace) = (pod.name_any(), &node.namespace);
        let binding = json!({
            "apiVersion": "v1", "kind": "Binding", "metadata": {"name": name, "namespace": namespace},
            "target": {"apiVersion": "v1", "kind": "Node", "name": NODE},
        });
        let _: Value = pods.create_subresource("binding", &name, &PostParams::default(), &binding).await?;

        let spec = pod.spec.as_ref().context("a Pod has a spec")?;
        ensure!(spec.containers.len() == 1 && spec.init_containers.is_none(), "this node runs one container of a Pod");
        let container = &spec.containers[0];
        let directory = node.directory.path().join(pod.uid().context("a UID")?);
        fs::create_dir_all(&directory)?;
        let mut mounts = Vec::new();
        for mount in container.volume_mounts.iter().flatten() {
            let volumes = spec.volumes.iter().flatten();
            let volume = volumes.clone().find(|volume| volume.name == mount.name).context("a volume of that name")?;
            let files = directory.join(&volume.name);
            fs::create_dir(&files)?;
            write_volume(&node.client, pod, volume, &files).await?;
            mounts.extend([files, PathBuf::from(&mount.mount_path)]);
        }
        let (host, port) = &node.apiserver;
        let mut variables = environment(&node.client, pod, container.env.as_deref().unwrap_or_default()).await?;
        for (name, value) in [("KUBERNETES_SERVICE_HOST", host), ("KUBERNETES_SERVICE_PORT", port)] {
            variables.push((name.to_owned(), value.clone()));
        }

        ensure!(container.command.is_none(), "the image says which program to run");
        let image = container.image.as_deref().context("an image")?;
        let image = image.rsplit('/').next().and_then(|image| image.split([':', '@']).next()).context("a name")?;
        // `make image-test` sets it to where the images are unpacked. Otherwise the programs of the build run.
        let root = std::env::var_os("IMAGES").map(|images| PathBuf::from(images).join(image));
        let loopback = Kubelet::loopback(address);
        let args = container.args.clone().unwrap_or_default();
        let (user, group) = user_and_group(pod)?;
        let mut command = Command::new("unshare");
        if !rustix::process::geteuid().is_root() {
            // An unprivileged user may mount in a user namespace, where it is the user of the Pod.
            command.args([format!("--map-user={user}"), format!("--map-group={group}"), "--keep-caps".to_owned()]);
        }
        command
            .args(["--mount", "--", "sh", "-c", SANDBOX, "sh"])
            .arg(node.hosts())
            .arg(if root.is_some() { PathBuf::new() } else { binary(image)? })
            .arg(format!("{user}:{group}"))
            .arg(root.clone().unwrap_or_default())
            .args(mounts)
            .arg("--")
            .args(variables.iter().map(|(name, value)| format!("{name}={value}")));
        match &root {
            Some(root) => {
                // The image says which program to run, in its entry point: that of its name.
                command.args(["/usr/sbin/chroot", &format!("--userspec={user}:{group}"), "--groups="]);
                command.arg(root).arg(format!("/{image}"));
            }
            None => drop(command.arg("/run/program")),
        }
        command.args(args.iter().map(|arg| arg.replace("0.0.0.0", &loopback)));
        let process = Process::start(&name, &command, node.directory.path(), Signal::TERM, Directory::Keep)?;
        node.note(|record| record.started.push((name.clone(), args)));
        let now = Instant::now();
        let started = Self {
            process,
            address: address.to_owned(),
            is_ready: false,
            next_readiness: now,
            next_liveness: now,
            liveness_failures: 0,
            ending: None,
        };
        started.tell(pods, pod, &json!({"running": {"startedAt": seconds()}}), "Running").await?;
        Ok(started)
    }

    /// Writes the Pod's status.
    async fn tell(&self, pods: &Api<Pod>, pod: &Pod, state: &Value, phase: &str) -> Result<()> {
        let container = &pod.spec.as_ref().context("a Pod has a spec")?.containers[0];
        let ready = if self.is_ready { "True" } else { "False" };
        let conditions: Vec<Value> =
            [("PodScheduled", "True"), ("Initialized", "True"), ("ContainersReady", ready), ("Ready", ready)]
                .iter()
                .map(|(kind, status)| json!({"type": kind, "status": status, "lastTransitionTime": seconds()}))
                .collect();
        let status = json!({"status": {
            "phase": phase, "podIP": self.address, "podIPs": [{"ip": self.address}], "hostIP": "10.0.0.1",
            "startTime": pod.creation_timestamp(), "conditions": conditions,
            "containerStatuses": [{
                "name": container.name, "image": container.image, "imageID": "", "ready": self.is_ready,
                "restartCount": 0, "started": true, "state": state,
            }],
        }});
        match pods.patch_status(&pod.name_any(), &PatchParams::default(), &Patch::Merge(status)).await {
            Err(kube::Error::Api(status)) if status.code == 404 => Ok(()),
            patched => Ok(patched.map(drop)?),
        }
    }

    /// Does what is due. Returns whether the Pod is gone.
    pub(super) async fn tick(&mut self, node: &Node, pods: &Api<Pod>, pod: &Pod) -> Result<bool> {
        let name = pod.name_any();
        let spec = pod.spec.as_ref().context("a Pod has a spec")?;
        let ended = self.process.exited()?;
        let deleted = pod.metadata.deletion_timestamp.is_some();
        match (&self.ending, ended) {
            (None, Some(status)) if spec.restart_policy.as_deref() == Some("Never") => {
                let ends =
                    json!({"terminated": {"exitCode": code(status), "finishedAt": seconds(), "startedAt": seconds()}});
                self.is_ready = false;
                node.note(|record| drop(record.output.insert(name.clone(), self.process.stdout())));
                if !status.success() {
                    self.blame(node, &name, &format!("ended with {status}"));
                }
                self.tell(pods, pod, &ends, if status.success() { "Succeeded" } else { "Failed" }).await?;
                // Later looks see the phase.
                return Ok(true);
            }
            (None, Some(status)) if !deleted => {
                // A real kubelet starts it again. No test of ours expects that.
                self.blame(node, &name, &format!("ended by itself with {status}"));
                self.ending = Some(Ending::Asked(Instant::now()));
            }
            (None, _) if deleted => {
                let sleep = spec.containers[0].lifecycle.as_ref().and_then(|all| all.pre_stop.as_ref()?.sleep.as_ref());
                let seconds = sleep.map_or(0, |sleep| sleep.seconds).unsigned_abs();
                self.ending = Some(Ending::Hook(Instant::now() + Duration::from_secs(seconds)));
            }
            (None, _) => self.probe(node, pods, pod).await?,
            (Some(Ending::Hook(until)), _) if Instant::now() >= *until => {
                self.process.signal(Signal::TERM)?;
                let grace = spec.termination_grace_period_seconds.unwrap_or(30).unsigned_abs();
                self.ending = Some(Ending::Asked(Instant::now() + Duration::from_secs(grace)));
            }
            (Some(Ending::Asked(_)), Some(status)) if deleted => {
                if !status.success() {
                    self.blame(node, &name, &format!("ended with {status} after its signal"));
                }
                node.remove(pods, pod).await?;
                return Ok(true);
            }
            (Some(Ending::Asked(until)), None) if Instant::now() >= *until => {
                self.blame(node, &name, "did not end in its grace period");
                self.process.signal(Signal::KILL)?;
            }
            _ => {}
        }
        Ok(false)
    }

    fn blame(&self, node: &Node, name: &str, what: &str) {
        let log = self.process.log();
        let end: Vec<&str> = log.lines().rev().take(5).collect();
        let failure = format!("{name} {what}: {}", end.into_iter().rev().collect::<Vec<_>>().join("\n"));
        node.note(|record| record.failures.push(failure));
    }

    /// Calls the probes that are due.
    async fn probe(&mut self, node: &Node, pods: &Api<Pod>, pod: &Pod) -> Result<()> {
        let container = &pod.spec.as_ref().context("a Pod has a spec")?.containers[0];
        let now = Instant::now();
        if let Some(probe) = container.readiness_probe.as_ref().filter(|_| now >= self.next_readiness) {
            // A start looks again sooner than a real kubelet, or the test would wait for it.
            let period = if self.is_ready { period(probe) } else { Duration::from_millis(200) };
            self.next_readiness = now + period;
            let ready = self.answers(pod, probe).await;
            if ready != self.is_ready {
                self.is_ready = ready;
                self.tell(pods, pod, &json!({"running": {"startedAt": seconds()}}), "Running").await?;
            }
        }
        if let Some(probe) = container.liveness_probe.as_ref().filter(|_| now >= self.next_liveness) {
            self.next_liveness = now + period(probe);
            self.liveness_failures = if self.answers(pod, probe).await { 0 } else { self.liveness_failures + 1 };
            if self.liveness_failures == probe.failure_threshold.unwrap_or(3) {
                self.blame(node, &pod.name_any(), "is not live");
            }
        }
        Ok(())
    }

    async fn answers(&self, pod: &Pod, probe: &Probe) -> bool {
        let Some(get) = &probe.http_get else { return false };
        let port = serde_json::to_value(&get.port).unwrap_or_default();
        let ports = pod.spec.iter().flat_map(|spec| spec.containers[0].ports.iter().flatten());
        let by_name =
            ports.clone().find(|named| named.name.as_deref() == port.as_str()).map(|named| named.container_port);
        let number = by_name.map_or(port.as_i64().unwrap_or_default(), i64::from);
        let url = format!("http://{}:{number}{}", Kubelet::loopback(&self.address), get.path.as_deref().unwrap_or("/"));
        let limit = Duration::from_secs(probe.timeout_seconds.unwrap_or(1).unsigned_abs().into());
        matches!(tokio::time::timeout(limit, http::get(&url)).await, Ok(Ok((200..400, _))))
    }
}

fn period(probe: &Probe) -> Duration {
    Duration::from_secs(probe.period_seconds.unwrap_or(10).unsigned_abs().into())
}

/// Now, as Kubernetes writes times.
fn seconds() -> String {
    Timestamp::now().strftime("%Y-%m-%dT%H:%M:%SZ").to_string()
}

fn code(status: ExitStatus) -> i32 {
    status.code().unwrap_or_else(|| 128 + status.signal().unwrap_or_default())
}
