//! Inputs of the fuzz targets as ordinary tests have them: those that are kept, and others near them.

use proptest::prelude::*;
use std::fs;
use std::path::Path;

/// The kept inputs of `target`, with their names.
pub fn kept(target: &str) -> Vec<(String, Vec<u8>)> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fuzz/corpus").join(target);
    let files = fs::read_dir(&folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display()));
    let mut inputs = files
        .map(|file| {
            let path = file.expect("the folder can be read").path();
            let name = path.file_name().expect("files have names").to_string_lossy().into_owned();
            (name, fs::read(path).expect("the file can be read"))
        })
        .collect::<Vec<_>>();
    inputs.sort();
    assert!(!inputs.is_empty(), "something is kept for {target}");
    inputs
}

/// Kept inputs of `target`, each with some bytes replaced, put in or left out, and perhaps another one behind it.
pub fn near(target: &str) -> impl Strategy<Value = Vec<u8>> {
    let kept = kept(target).into_iter().map(|(_, input)| input).collect::<Vec<_>>();
    let bytes = prop_oneof![
        3 => prop::collection::vec(any::<u8>(), 0..4),
        1 => prop::sample::select(vec![&b"\x00"[..], b"\x7f\xff", b"\xff", b"\r\n", b"\"", b"{", b"}", b"\\u"])
            .prop_map(<[u8]>::to_vec),
    ];
    let edit = (any::<prop::sample::Index>(), 0..4_usize, bytes);
    let input = prop::sample::select(kept);
    (input.clone(), prop::option::weighted(0.3, input), prop::collection::vec(edit, 0..6)).prop_map(
        |(mut input, second, edits)| {
            input.extend(second.into_iter().flatten());
            for (at, cut, bytes) in edits {
                let at = at.index(input.len() + 1);
                let end = (at + cut).min(input.len());
                input.splice(at..end, bytes);
            }
            input
        },
    )
}
