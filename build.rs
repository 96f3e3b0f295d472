//! Sets cfg flags from what nginx-sys reports about nginx, computes the Content-Security-Policy of the page
//! of `sticky_api`, and compiles `bits.c`.

use std::{env, fs};

use base64::prelude::{Engine, BASE64_STANDARD};
use sha2::{Digest, Sha256};

/// First version with its own `sticky`, `route=` and `drain`, and with `hint` and `sid` of a peer.
const OWN_STICKY: u64 = 1_029_006;
/// First version that passes on early hints (103) from upstreams.
const EARLY_HINTS: u64 = 1_029_000;
/// First version whose open-source peers are reference-counted and re-resolved.
const PEER_REFS: u64 = 1_027_003;

fn main() {
    println!("cargo::rerun-if-changed=build.rs");

    let version: u64 = env::var("DEP_NGINX_VERSION_NUMBER")
        .ok()
        .and_then(|v| v.trim().parse().ok())
        .expect("nginx-sys exports the version number of nginx");

    println!("cargo::rustc-check-cfg=cfg(nginx_own_sticky)");
    println!("cargo::rustc-check-cfg=cfg(nginx_early_hints)");
    println!("cargo::rustc-check-cfg=cfg(nginx_peer_refs)");
    println!("cargo::rustc-check-cfg=cfg(nginx_peer_sessions)");
    if version >= OWN_STICKY {
        println!("cargo::rustc-cfg=nginx_own_sticky");
    }
    // Early hints carry cookies of our `sticky` only; an nginx with its own `sticky` sets its own.
    if (EARLY_HINTS..OWN_STICKY).contains(&version) {
        println!("cargo::rustc-cfg=nginx_early_hints");
    }

    let known = env::var("DEP_NGINX_FEATURES_CHECK").unwrap_or_default();
    println!("cargo::rustc-check-cfg=cfg(ngx_feature, values({known}))");
    for feature in env::var("DEP_NGINX_FEATURES").unwrap_or_default().split(',') {
        if !feature.is_empty() {
            println!("cargo::rustc-cfg=ngx_feature=\"{feature}\"");
        }
        // nginx has these fields only with `ngx_http_upstream_zone_module`.
        if feature == "http_upstream_zone" && version >= PEER_REFS {
            println!("cargo::rustc-cfg=nginx_peer_refs");
        }
        // `set_session` and `save_session` of a peer: `NGX_SSL || NGX_COMPAT` in nginx's headers.
        if matches!(feature, "ssl" | "compat") {
            println!("cargo::rustc-cfg=nginx_peer_sessions");
        }
    }

    println!("cargo::rustc-env=PAGE_POLICY={}", page_policy());

    compile_request_bits();

    // nginx resolves the module's references when it loads it.
    if env::var("CARGO_CFG_TARGET_OS").as_deref() == Ok("macos") {
        println!("cargo::rustc-link-arg=-Wl,-undefined,dynamic_lookup");
    }
}

/// The policy allows the page its own style and script, and requests to the server it came from.
fn page_policy() -> String {
    const PAGE: &str = "module/api/page.html";

    println!("cargo::rerun-if-changed={PAGE}");
    let page = fs::read_to_string(PAGE).expect("the page is part of the sources");
    let hash = |tag: &str| {
        let (_, rest) = page.split_once(&format!("<{tag}>")).expect("the page has one of each");
        let (text, _) = rest.split_once(&format!("</{tag}>")).expect("it ends");
        format!("'sha256-{}'", BASE64_STANDARD.encode(Sha256::digest(text)))
    };
    format!(
        "default-src 'none'; style-src {}; script-src {}; connect-src 'self'; base-uri 'none'; \
         form-action 'none'; frame-ancestors 'none'",
        hash("style"),
        hash("script")
    )
}

/// Compiles the accessors of bit fields that bindgen places wrongly, with the flags nginx was compiled with.
fn compile_request_bits() {
    const SOURCE: &str = "module/nginx/bits.c";
    println!("cargo::rerun-if-changed={SOURCE}");

    let mut build = cc::Build::new();
    build.file(SOURCE).warnings(false);
    for path in env::split_paths(&env::var_os("DEP_NGINX_INCLUDE").unwrap_or_default()) {
        build.include(path);
    }
    for flag in env::var("DEP_NGINX_CFLAGS").unwrap_or_default().split_whitespace() {
        build.flag(flag);
    }
    build.compile("sticky_learn_request");
}
