//! What is left to do when no controller runs any more: its finalizers would keep resources, their namespaces and the
//! definition from ever being deleted.
//!
//! It changes nothing but finalizers, and asks the service nothing. The API server must allow to list and patch campaigns.

use anyhow::Context as _;
use futures::TryStreamExt as _;
use kube::{
    Api, Client, ResourceExt as _,
    api::{ListParams, Patch, PatchParams},
    core::PartialObjectMeta,
};
use serde_json::json;

use crate::crd::{Campaign, FINALIZER};

/// Resources in one page of a list.
const PAGE: u32 = 500;
/// Patches under way at once.
const CONCURRENCY: usize = 16;

/// Removes our finalizer from all resources, or from those of one namespace, and returns from how many.
///
/// A resource that changed meanwhile fails the call; repeat it.
pub async fn remove_finalizers(client: Client, namespace: Option<&str>) -> anyhow::Result<usize> {
    let campaigns = Campaign::api(client.clone(), namespace);
    let mut removed = 0;
    let mut page = ListParams::default().limit(PAGE);
    loop {
        // Metadata alone: a resource that this version can't read must not keep its finalizer either.
        let listed = match campaigns.list_metadata(&page).await {
            Ok(listed) => listed,
            // Without a definition there are no resources.
            Err(kube::Error::Api(status)) if status.code == 404 => return Ok(removed),
            Err(error) => return Err(error).context("listing Campaign resources"),
        };
        let ours = listed.items.iter().filter(|resource| resource.finalizers().iter().any(|name| name == FINALIZER));
        let patches = ours.map(|resource| anyhow::Ok(remove_finalizer(&client, resource)));
        let done = futures::stream::iter(patches).try_buffer_unordered(CONCURRENCY);
        removed += done.try_fold(0, async |sum, ()| Ok(sum + 1)).await?;
        match listed.metadata.continue_.filter(|token| !token.is_empty()) {
            Some(token) => page = page.continue_token(&token),
            None => return Ok(removed),
        }
    }
}

async fn remove_finalizer(client: &Client, resource: &PartialObjectMeta<Campaign>) -> anyhow::Result<()> {
    let (namespace, name) = (resource.namespace().unwrap_or_default(), resource.name_any());
    let kept: Vec<&String> = resource.finalizers().iter().filter(|name| *name != FINALIZER).collect();
    // The version makes a finalizer that somebody else added meanwhile a conflict. Otherwise it would be lost.
    let patch = json!({"metadata": {"finalizers": kept, "resourceVersion": resource.resource_version()}});
    let campaigns: Api<Campaign> = Api::namespaced(client.clone(), &namespace);
    match campaigns.patch_metadata(&name, &PatchParams::default(), &Patch::Merge(patch)).await {
        Err(kube::Error::Api(status)) if status.code == 404 => Ok(()),
        patched => patched.map(drop).with_context(|| format!("removing the finalizer of {namespace}/{name}")),
    }
}
