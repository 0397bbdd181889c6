//! `ion fetch`

use super::{
    CliError,
    args::{Common, FetchArgs},
    block_on, job_ref, jobs, output,
    run::{Written, outputs},
    start,
};
use crate::show::{self, Format};
use ion_protocol::{JobId, record::JobEnd};
use ion_scheduler::view::OutputView;
use serde::Serialize;

#[derive(Serialize)]
struct FetchJson<'a> {
    job: JobId,
    files: &'a [Written],
}

/// Writes the results of a job that is done and whose `ion run` did not.
pub fn fetch(common: &Common, args: FetchArgs) -> Result<(), CliError> {
    block_on(async {
        let mut client = start::connect(common).await?;
        let job = job_ref::find(&mut client, &args.job).await?;
        let view = jobs::view(&mut client, job).await?;
        if !matches!(view.end, Some(JobEnd::Done { .. })) {
            let message = format!("job {} has no results: it is {}", job.short(), view.state);
            return Err(CliError::failed(message, "`ion why` says why it is where it is"));
        }
        let found = outputs(&mut client, job).await?;
        let mut files = Vec::new();
        for (wanted, found) in view.outputs.iter().zip(&found) {
            let name = file_name(wanted);
            let path = show::write(&args.out, &name, wanted.element, &wanted.shape, &found.path)?;
            files.push(Written { buffer: wanted.name.clone(), path, bytes: found.bytes, hash: found.hash });
        }
        if common.json {
            return output::json(&FetchJson { job, files: &files });
        }
        files.iter().try_for_each(|file| output::line(&file.line()))
    })
}

/// The manifest's own file names are not sent to the node: the buffer's name is, and its type says what it can become.
fn file_name(output: &OutputView) -> String {
    // A buffer's name may hold what no file name may.
    let plain = |c: char| if c.is_alphanumeric() || matches!(c, '-' | '_' | '.') { c } else { '_' };
    let name: String = output.name.chars().map(plain).collect();
    let ending = if Format::Npy.check(output.element, &output.shape).is_ok() { "npy" } else { "bin" };
    format!("{}.{ending}", name.trim_start_matches('.'))
}

#[cfg(test)]
mod tests {
    use super::*;
    use ion_protocol::{BlobHash, Bytes, job::Element};

    #[test]
    fn a_buffer_becomes_a_plain_file() {
        let named = |name: &str, element: Element| {
            let (name, hash) = (name.to_owned(), BlobHash([0; 32]));
            file_name(&OutputView { buffer: 0, name, bytes: Bytes(4), hash, element, shape: vec![2] })
        };
        assert_eq!(named("y", Element::F32), "y.npy");
        assert_eq!(named("y", Element::Bf16), "y.bin");
        assert_eq!(named("../a b", Element::U8), "_a_b.npy");
        assert!(crate::manifest::is_plain_file_name(&named("../../x", Element::U8)));
    }
}
