/* Accessors of bit fields that bindgen may place wrongly (see request.rs), and C macros. */

#include <ngx_config.h>
#include <ngx_core.h>
#include <ngx_event.h>
#include <ngx_http.h>

extern ngx_module_t  ngx_http_copy_filter_module;

#if (NGX_HTTP_CACHE)

unsigned
sticky_learn_is_cached(ngx_http_request_t *r)
{
    return r->cached;
}

#endif

unsigned
sticky_learn_is_internal(ngx_http_request_t *r)
{
    return r->internal;
}

unsigned
sticky_learn_is_header_only(ngx_http_request_t *r)
{
    return r->header_only;
}

/* The condition of ngx_http_special_response_handler() for an error_page. */

unsigned
sticky_learn_may_have_error_page(ngx_http_request_t *r)
{
    return !r->error_page && r->uri_changes != 0;
}

/* Requests the body in memory. Returns 0 if another filter has requested it. */

unsigned
sticky_learn_need_body_in_memory(ngx_http_request_t *r)
{
    if (r->main_filter_need_in_memory || r->filter_need_in_memory) {
        return 0;
    }

    r->filter_need_in_memory = 1;

    return 1;
}

/*
 * Takes the request for the body in memory back, also in the copy filter,
 * which keeps a copy of the bit.  Returns 0 while a part of a file is being
 * read: without the bit that part would never arrive.
 */

unsigned
sticky_learn_release_body(ngx_http_request_t *r)
{
    ngx_output_chain_ctx_t  *ctx;

    ctx = ngx_http_get_module_ctx(r, ngx_http_copy_filter_module);

    if (ctx) {
        if (ctx->aio || ctx->buf) {
            return 0;
        }

        ctx->need_in_memory = 0;
    }

    r->filter_need_in_memory = 0;

    return 1;
}

void
sticky_learn_need_request_body_in_single_buf(ngx_http_request_t *r)
{
    r->request_body_in_single_buf = 1;
}

/* Whether the TCP connection was established: only then nginx begins a TLS handshake or sends a request. */

unsigned
sticky_learn_was_connected(ngx_http_upstream_t *u)
{
#if (NGX_SSL || NGX_COMPAT)
    if (u->peer.connection->ssl) {
        return 1;
    }
#endif
    return u->request_sent;
}

/* Whether a TLS handshake with the server has begun and not ended. */

unsigned
sticky_learn_is_shaking_hands(ngx_http_upstream_t *u)
{
#if (NGX_HTTP_SSL)
    return u->peer.connection->ssl && !u->peer.connection->ssl->handshaked;
#else
    (void) u;
    return 0;
#endif
}

/*
 * Allows a stale response from the cache instead of a 503, if the configuration
 * allows one for a server that cannot be reached (error, timeout or http_503).
 */

unsigned
sticky_learn_allow_stale(ngx_http_request_t *r)
{
#if (NGX_HTTP_CACHE)
    ngx_http_upstream_t  *u = r->upstream;

    if (r->cache == NULL || u->cache_status != NGX_HTTP_CACHE_EXPIRED) {
        return 0;
    }

    if (u->conf->cache_use_stale
        & (NGX_HTTP_UPSTREAM_FT_ERROR|NGX_HTTP_UPSTREAM_FT_TIMEOUT|NGX_HTTP_UPSTREAM_FT_HTTP_503))
    {
        r->cache->stale_error = 1;
    }

    return r->cache->stale_error;
#else
    (void) r;
    return 0;
#endif
}

#if (NGX_HTTP_SSL)

/* Has the server's name sent with the TLS handshake (SNI): a macro of OpenSSL, a function of others. */

ngx_int_t
sticky_learn_ask_for_name(ngx_connection_t *c, const char *name)
{
    return SSL_set_tlsext_host_name(c->ssl->connection, (char *) name) ? NGX_OK : NGX_ERROR;
}

/* The error of the certificate, zero without one; its text is static. */

long
sticky_learn_certificate_error(ngx_connection_t *c, const char **text)
{
    long  error;

    error = SSL_get_verify_result(c->ssl->connection);
    *text = X509_verify_cert_error_string(error);

    return error == X509_V_OK ? 0 : error;
}

/* Whether the TLS handshake has succeeded. */

unsigned
sticky_learn_is_handshaked(ngx_connection_t *c)
{
    return c->ssl->handshaked;
}

#endif

unsigned
sticky_learn_has_ssl(ngx_connection_t *c)
{
#if (NGX_HTTP_SSL)
    return c->ssl != NULL;
#else
    (void) c;
    return 0;
#endif
}

/* Ends TLS, if there is any, without waiting: close_notify is sent if that can be done at once. */

void
sticky_learn_end_ssl(ngx_connection_t *c)
{
#if (NGX_HTTP_SSL)
    if (c->ssl == NULL) {
        return;
    }

    c->ssl->no_wait_shutdown = 1;

    if (ngx_ssl_shutdown(c) == NGX_AGAIN) {
        c->timedout = 1;
        (void) ngx_ssl_shutdown(c);
    }
#else
    (void) c;
#endif
}

/* Whether the body of a request is passed on while it is read. */

unsigned
sticky_learn_is_unbuffered(const ngx_http_request_t *r)
{
    return r->request_body_no_buffering;
}

/*
 * Stops reading a request body, from a request body filter: nginx takes the
 * body for complete, and calls the handler.  What the client still sends is
 * discarded: by a lingering close, in HTTP/2 by skipping the stream's data.
 */

void
sticky_learn_stop_request_body(ngx_http_request_t *r, ngx_http_client_body_handler_pt handler)
{
    ngx_http_request_body_t  *rb = r->request_body;

    rb->rest = 0;
    rb->last_saved = 1;
    rb->post_handler = handler;

    r->keepalive = 0;
    r->lingering_close = 1;

#if (NGX_HTTP_V2)
    if (r->stream) {
        r->stream->skip_data = 1;

        /* nginx compares the length with what has arrived. */
        r->headers_in.content_length_n = -1;
    }
#endif
}

/* Whether a location has a cache. */

unsigned
sticky_learn_caches(const ngx_http_upstream_conf_t *conf)
{
#if (NGX_HTTP_CACHE)
    return conf->cache != 0;
#else
    (void) conf;
    return 0;
#endif
}

/* Whether the request that the upstream sends ends its first line with HTTP/1.0. */

unsigned
sticky_learn_is_http_1_0(const ngx_http_upstream_t *u)
{
    static const char   version[] = " HTTP/1.0";
    const size_t        len = sizeof(version) - 1;
    const ngx_buf_t    *b;
    const u_char       *p, *last;

    if (u->request_bufs == NULL) {
        return 0;
    }

    b = u->request_bufs->buf;

    for (p = b->start, last = b->last; p < last; p++) {
        if (*p == CR) {
            return (size_t) (p - b->start) >= len && ngx_memcmp(p - len, version, len) == 0;
        }
    }

    return 0;
}

/* Whether the response may come from the cache. */

unsigned
sticky_learn_may_be_cached(const ngx_http_upstream_t *u)
{
#if (NGX_HTTP_CACHE)
    return u->conf->cache != 0;
#else
    (void) u;
    return 0;
#endif
}

/*
 * A held answer: its header has not passed the later header filters, its body
 * is kept.  nginx knows of it by a bit of r->buffered, that of image_filter,
 * whose module looks at no answer that it does not begin to filter.
 */

#define STICKY_LEARN_HELD  0x08

unsigned
sticky_learn_is_held(const ngx_http_request_t *r)
{
    return r->buffered & STICKY_LEARN_HELD;
}

/*
 * Lets the request live on when its answer has come, with its body: nginx
 * closes the file of a body when it passes the answer.  The answer's body
 * arrives in memory.
 */

void
sticky_learn_set_held(ngx_http_request_t *r)
{
    r->buffered |= STICKY_LEARN_HELD;
    r->preserve_body = 1;
    r->filter_need_in_memory = 1;
}

void
sticky_learn_unset_held(ngx_http_request_t *r)
{
    r->buffered &= ~STICKY_LEARN_HELD;
}

/* Whether the location speaks TLS to its servers. */

unsigned
sticky_learn_uses_tls(const ngx_http_upstream_t *u)
{
    return u->ssl;
}

/* Puts the request into the state before its content handler, as ngx_http_internal_redirect() does. */

void
sticky_learn_take_answer_back(ngx_http_request_t *r)
{
    ngx_http_clean_header(r);
    ngx_memzero(r->ctx, sizeof(void *) * ngx_http_max_module);

    r->http_state = NGX_HTTP_PROCESS_REQUEST_STATE;

    r->buffered = 0;
    r->chunked = 0;
    r->header_only = 0;
    r->expect_trailers = 0;
    r->filter_need_in_memory = 0;
    r->filter_need_temporary = 0;
    r->main_filter_need_in_memory = 0;
    r->allow_ranges = 0;
    r->single_range = 0;
}
