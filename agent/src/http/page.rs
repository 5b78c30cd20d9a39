//! The page: three files that lie in the program, so that it works without a network.

use axum::Router;
use axum::http::header;
use axum::response::IntoResponse;
use axum::routing::get;

/// Nothing is loaded from, or sent to, anywhere else; nor does anyone frame it.
const POLICY: &str =
    "default-src 'self'; img-src 'self' data:; frame-ancestors 'none'; base-uri 'none'";

pub(super) fn routes() -> Router {
    let html = || async { file("text/html; charset=utf-8", include_str!("page/index.html")) };
    let script = || async { file("text/javascript; charset=utf-8", include_str!("page/page.js")) };
    let style = || async { file("text/css; charset=utf-8", include_str!("page/page.css")) };
    Router::new()
        .route("/", get(html))
        .route("/page.js", get(script))
        .route("/page.css", get(style))
}

fn file(kind: &'static str, text: &'static str) -> impl IntoResponse {
    let headers = [
        (header::CONTENT_TYPE, kind),
        (header::CONTENT_SECURITY_POLICY, POLICY),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        // A new agent comes with a new page.
        (header::CACHE_CONTROL, "no-cache"),
    ];
    (headers, text)
}
