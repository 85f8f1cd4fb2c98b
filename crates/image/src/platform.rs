//! Platforms (image-index.md, "platform"): what this machine runs, and which manifest of an index
//! suits it best, by the variants that the table of the specification lists.

use berth_spec::image::{Descriptor, Platform};

/// The platform that this program was built for.
pub fn host() -> Platform {
    let (architecture, variant) = match std::env::consts::ARCH {
        "x86_64" => ("amd64", None),
        "x86" => ("386", None),
        "aarch64" => ("arm64", Some("v8")),
        "arm" => ("arm", Some("v7")),
        "powerpc64" => ("ppc64le", None),
        "loongarch64" => ("loong64", None),
        other => (other, None),
    };
    Platform {
        architecture: architecture.to_owned(),
        os: "linux".to_owned(),
        variant: variant.map(str::to_owned),
        ..Platform::default()
    }
}

/// How well `offered` suits `wanted`: 0 is best, `None` is not at all.
pub fn rank(wanted: &Platform, offered: &Platform) -> Option<u32> {
    if wanted.os != offered.os || wanted.architecture != offered.architecture {
        return None;
    }
    let default = match wanted.architecture.as_str() {
        "arm64" => 8,
        "arm" => 7,
        "amd64" => 1,
        _ => {
            let same = wanted.variant.is_none()
                || offered.variant.is_none()
                || wanted.variant == offered.variant;
            return same.then_some(0);
        }
    };
    let number = |variant: &Option<String>| match variant.as_deref() {
        None | Some("") => Some(default),
        Some(text) => text.strip_prefix('v').and_then(|digits| digits.parse::<u32>().ok()),
    };
    // A processor runs what was made for its own variant and for the lesser ones.
    number(&wanted.variant)?.checked_sub(number(&offered.variant)?)
}

/// The manifest of an index that suits `wanted` best: the first among equals.
pub fn choose<'a>(
    wanted: &Platform,
    manifests: impl IntoIterator<Item = &'a Descriptor>,
) -> Option<&'a Descriptor> {
    manifests
        .into_iter()
        .filter_map(|descriptor| Some((rank(wanted, descriptor.platform.as_ref()?)?, descriptor)))
        .min_by_key(|(rank, _)| *rank)
        .map(|(_, descriptor)| descriptor)
}

/// `os/architecture[/variant]`, as people write it.
pub fn display(platform: &Platform) -> String {
    let mut text = format!("{}/{}", platform.os, platform.architecture);
    if let Some(variant) = &platform.variant {
        text.push('/');
        text.push_str(variant);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(architecture: &str, variant: Option<&str>) -> Platform {
        Platform {
            architecture: architecture.to_owned(),
            os: "linux".to_owned(),
            variant: variant.map(str::to_owned),
            ..Platform::default()
        }
    }

    #[test]
    fn lesser_variants_suit_and_greater_ones_do_not() {
        assert_eq!(rank(&of("arm", Some("v7")), &of("arm", Some("v6"))), Some(1));
        assert_eq!(rank(&of("arm", Some("v6")), &of("arm", Some("v7"))), None);
        assert_eq!(rank(&of("arm64", None), &of("arm64", Some("v8"))), Some(0));
        assert_eq!(rank(&of("amd64", None), &of("amd64", Some("v3"))), None);
        assert_eq!(rank(&of("amd64", None), &of("arm64", None)), None);
    }

    #[test]
    fn the_nearest_variant_is_chosen() {
        let descriptor = |variant| Descriptor {
            platform: Some(of("arm", Some(variant))),
            digest: variant.to_owned(),
            ..Descriptor::default()
        };
        let offered = [descriptor("v5"), descriptor("v6"), descriptor("v7")];
        let chosen = choose(&of("arm", Some("v6")), &offered).unwrap();
        assert_eq!(chosen.digest, "v6");
    }
}
