//! `ion key`

use super::{
    CliError,
    args::{Common, KeyArgs, KeyVerb},
    output, start,
};
use crate::{
    files,
    identity::{self, IdentityError, KEY_FILE},
};
use serde::Serialize;
use std::{io, path::PathBuf};

#[derive(Serialize)]
struct KeyJson {
    node: ion_protocol::NodeId,
    file: PathBuf,
}

/// Shows this node's public half, or draws a key.
pub fn key(common: &Common, args: KeyArgs) -> Result<(), CliError> {
    let dir = start::data_dir(common)?;
    let file = dir.join(KEY_FILE);
    let key = match args.verb {
        KeyVerb::Show => match identity::load(&file) {
            Err(IdentityError::Io { source, .. }) if source.kind() == io::ErrorKind::NotFound => {
                let message = format!("there is no key in {}", dir.display());
                return Err(CliError::node(
                    message,
                    "draw one with `ion key new`, or name another directory with `--data-dir`",
                ));
            }
            loaded => loaded?,
        },
        KeyVerb::New => {
            files::create_private_dir(&dir).map_err(|e| {
                let message = format!("could not create {}: {e}", dir.display());
                CliError::node(message, "choose another directory with `--data-dir`")
            })?;
            identity::create_new(&file)?
        }
    };
    let node = key.node_id();
    if common.json { output::json(&KeyJson { node, file }) } else { output::line(&node.to_string()) }
}
