//! The agent's parsers: what comes over its ports, from a broker, from its own files, and from whoever
//! configures it.

mod broker;
mod config;
mod files;
mod http;
mod journal;
mod line;
mod listen;
mod query;

use crate::Target;
use crate::bound::NETWORK_MAX;

/// The targets.
pub const TARGETS: &[Target] = &[
    Target {
        name: "listen",
        len_max: 2048,
        alloc_max: NETWORK_MAX,
        run: listen::run,
        seeds: listen::seeds,
        words: listen::WORDS,
    },
    Target {
        name: "line",
        len_max: 1024,
        alloc_max: NETWORK_MAX,
        run: line::run,
        seeds: line::seeds,
        words: &[],
    },
    Target {
        name: "broker",
        len_max: 1024,
        alloc_max: NETWORK_MAX,
        run: broker::run,
        seeds: broker::seeds,
        words: broker::WORDS,
    },
    Target {
        name: "http",
        len_max: 1024,
        alloc_max: http::MEMORY_MAX,
        run: http::run,
        seeds: http::seeds,
        words: http::WORDS,
    },
    Target {
        name: "config",
        len_max: 1024,
        alloc_max: config::MEMORY_MAX,
        run: config::config,
        seeds: config::config_seeds,
        words: config::CONFIG_WORDS,
    },
    Target {
        name: "admin",
        len_max: 1024,
        alloc_max: config::ADMIN_MEMORY_MAX,
        run: config::admin,
        seeds: config::admin_seeds,
        words: config::ADMIN_WORDS,
    },
    Target {
        name: "journal",
        len_max: 2048,
        alloc_max: journal::MEMORY_MAX,
        run: journal::files,
        seeds: journal::files_seeds,
        words: &[],
    },
    Target {
        name: "journal-record",
        len_max: 512,
        alloc_max: 0,
        run: journal::record,
        seeds: journal::record_seeds,
        words: &[],
    },
    Target {
        name: "block",
        len_max: 1024,
        alloc_max: files::BLOCK_MEMORY_MAX,
        run: files::block,
        seeds: files::block_seeds,
        words: &[],
    },
    Target {
        name: "backup",
        len_max: 4096,
        alloc_max: files::BACKUP_MEMORY_MAX,
        run: files::backup,
        seeds: files::backup_seeds,
        words: &[b"ustar", b"0000600", b"manifest.ndjson"],
    },
    Target {
        name: "vehicles",
        len_max: 1024,
        alloc_max: files::VEHICLES_MEMORY_MAX,
        run: files::vehicles,
        seeds: files::vehicles_seeds,
        words: files::VEHICLES_WORDS,
    },
    Target {
        name: "query",
        len_max: 256,
        alloc_max: query::MEMORY_MAX,
        run: query::run,
        seeds: query::seeds,
        words: query::WORDS,
    },
];
