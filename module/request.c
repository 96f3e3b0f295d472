/* The bits of a request, by name. See request.rs. */

#include <ngx_config.h>
#include <ngx_core.h>
#include <ngx_http.h>

unsigned
sticky_learn_is_cached(ngx_http_request_t *r)
{
#if (NGX_HTTP_CACHE)
    return r->cached;
#else
    (void) r;
    return 0;
#endif
}

unsigned
sticky_learn_is_header_only(ngx_http_request_t *r)
{
    return r->header_only;
}

/* As ngx_http_special_response_handler() asks before it looks for one. */

unsigned
sticky_learn_may_have_error_page(ngx_http_request_t *r)
{
    return !r->error_page && r->uri_changes != 0;
}

void
sticky_learn_need_body_in_memory(ngx_http_request_t *r)
{
    r->filter_need_in_memory = 1;
}

void
sticky_learn_need_request_body_in_single_buf(ngx_http_request_t *r)
{
    r->request_body_in_single_buf = 1;
}
