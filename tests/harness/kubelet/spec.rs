//! Reads a Pod's spec: the environment and the files that its container gets. Fails on what it does not know.

use std::{fs, path::Path};

use anyhow::{Context as _, Result, bail, ensure};
use k8s_openapi::{
    ByteString,
    api::{
        authentication::v1::{BoundObjectReference, TokenRequest, TokenRequestSpec},
        core::v1::{ConfigMap, EnvVar, Pod, Secret, ServiceAccount, ServiceAccountTokenProjection, Volume},
    },
};
use kube::{Api, Client, ResourceExt as _, api::PostParams};

/// The value of a field that the downward API offers.
fn field(pod: &Pod, path: &str) -> Result<String> {
    match path {
        "metadata.name" => Ok(pod.name_any()),
        "metadata.namespace" => pod.namespace().context("a Pod has a namespace"),
        "spec.nodeName" => Ok(super::container::NODE.to_owned()),
        other => bail!("the downward API of this node has no {other}"),
    }
}

/// The variables of a container.
pub(super) async fn environment(client: &Client, pod: &Pod, variables: &[EnvVar]) -> Result<Vec<(String, String)>> {
    let namespace = pod.namespace().context("a Pod has a namespace")?;
    let mut found = Vec::new();
    for variable in variables {
        let value = match &variable.value_from {
            None => variable.value.clone().unwrap_or_default(),
            Some(from) => {
                if let Some(of_secret) = &from.secret_key_ref {
                    let secrets: Api<Secret> = Api::namespaced(client.clone(), &namespace);
                    let secret = secrets.get(&of_secret.name).await?;
                    let data = secret.data.unwrap_or_default();
                    let ByteString(value) = data.get(&of_secret.key).context("the Secret lacks the key")?;
                    String::from_utf8(value.clone())?
                } else {
                    let of_field = from.field_ref.as_ref().context("an unknown source of a variable")?;
                    field(pod, &of_field.field_path)?
                }
            }
        };
        found.push((variable.name.clone(), value));
    }
    Ok(found)
}

/// A token for the Pod, which ends with it.
async fn token(client: &Client, pod: &Pod, projection: &ServiceAccountTokenProjection) -> Result<String> {
    let namespace = pod.namespace().context("a Pod has a namespace")?;
    let account =
        pod.spec.as_ref().and_then(|spec| spec.service_account_name.clone()).context("a Pod has an account")?;
    let accounts: Api<ServiceAccount> = Api::namespaced(client.clone(), &namespace);
    let request = TokenRequest {
        spec: TokenRequestSpec {
            audiences: projection.audience.clone().into_iter().collect(),
            expiration_seconds: projection.expiration_seconds,
            bound_object_ref: Some(BoundObjectReference {
                api_version: Some("v1".into()),
                kind: Some("Pod".into()),
                name: Some(pod.name_any()),
                uid: pod.uid(),
            }),
        },
        ..TokenRequest::default()
    };
    let answer = accounts.create_token_request(&account, &PostParams::default(), &request).await?;
    Ok(answer.status.context("the API server issues a token")?.token)
}

/// Writes the files of a volume.
pub(super) async fn write_volume(client: &Client, pod: &Pod, volume: &Volume, directory: &Path) -> Result<()> {
    let namespace = pod.namespace().context("a Pod has a namespace")?;
    let projected = volume.projected.as_ref().with_context(|| format!("{} is no projected volume", volume.name))?;
    for source in projected.sources.iter().flatten() {
        if let Some(projection) = &source.service_account_token {
            fs::write(directory.join(&projection.path), token(client, pod, projection).await?)?;
        } else if let Some(of_map) = &source.config_map {
            let maps: Api<ConfigMap> = Api::namespaced(client.clone(), &namespace);
            let data = maps.get(&of_map.name).await?.data.unwrap_or_default();
            for item in of_map.items.iter().flatten() {
                fs::write(directory.join(&item.path), data.get(&item.key).context("the ConfigMap lacks the key")?)?;
            }
        } else if let Some(downward) = &source.downward_api {
            for item in downward.items.iter().flatten() {
                let of_field = item.field_ref.as_ref().context("a file of a field")?;
                fs::write(directory.join(&item.path), field(pod, &of_field.field_path)?)?;
            }
        } else {
            bail!("{} has an unknown source", volume.name);
        }
    }
    Ok(())
}

/// Fails unless the container may run as the restricted standard wants, which this node then grants to every container.
pub(super) fn user_and_group(pod: &Pod) -> Result<(i64, i64)> {
    let spec = pod.spec.as_ref().context("a Pod has a spec")?;
    let of_pod = spec.security_context.as_ref().context("a security context")?;
    let of_container = spec.containers[0].security_context.as_ref().context("a security context")?;
    ensure!(of_container.read_only_root_filesystem == Some(true), "the root file system is writable");
    ensure!(of_container.allow_privilege_escalation == Some(false), "privileges may grow");
    Ok((of_pod.run_as_user.context("a user")?, of_pod.run_as_group.context("a group")?))
}
