/*
 * For tests: sets a header of the request when sticky_learn has read the request already.
 *
 *     late_header NAME VALUE;         at the end of PRECONTENT, behind all other handlers, as ngx_lua's
 *                                     precontent_by_lua
 *     late_header NAME VALUE body;    when the request's body is read, in a filter of request bodies
 */

#include <ngx_config.h>
#include <ngx_core.h>
#include <ngx_http.h>


typedef struct {
    ngx_str_t                  name;
    ngx_http_complex_value_t  *value;
    ngx_flag_t                 body;
} late_conf_t;


extern ngx_module_t  ngx_http_late_module;

static ngx_http_request_body_filter_pt  next_request_body_filter;


static ngx_int_t
set_header(ngx_http_request_t *r, late_conf_t *conf)
{
    ngx_uint_t        i;
    ngx_str_t         value;
    ngx_list_part_t  *part;
    ngx_table_elt_t  *header, *found;

    if (ngx_http_complex_value(r, conf->value, &value) != NGX_OK) {
        return NGX_ERROR;
    }

    found = NULL;

    for (part = &r->headers_in.headers.part; part; part = part->next) {
        header = part->elts;

        for (i = 0; i < part->nelts; i++) {
            if (header[i].key.len == conf->name.len
                && ngx_strncasecmp(header[i].key.data, conf->name.data,
                                   conf->name.len) == 0)
            {
                found = &header[i];
            }
        }
    }

    if (found == NULL) {
        found = ngx_list_push(&r->headers_in.headers);
        if (found == NULL) {
            return NGX_ERROR;
        }

        ngx_memzero(found, sizeof(ngx_table_elt_t));
        found->key = conf->name;
        found->lowcase_key = ngx_pnalloc(r->pool, conf->name.len);
        if (found->lowcase_key == NULL) {
            return NGX_ERROR;
        }

        found->hash = ngx_hash_strlow(found->lowcase_key, conf->name.data,
                                      conf->name.len);
    }

    found->value = value;

    return NGX_OK;
}


/* The handlers of a phase stand side by side; the first run moves this one. */

static ngx_int_t
move_to_end(ngx_http_request_t *r)
{
    ngx_http_phase_handler_t   own, *handlers, *here, *last;
    ngx_http_core_main_conf_t  *core;

    core = ngx_http_get_module_main_conf(r, ngx_http_core_module);
    handlers = core->phase_engine.handlers;
    here = &handlers[r->phase_handler];
    last = &handlers[here->next - 1];

    if (here == last) {
        return NGX_DECLINED;
    }

    own = *here;
    ngx_memmove(here, here + 1, (last - here) * sizeof(ngx_http_phase_handler_t));
    *last = own;

    /* What stands here now has its turn next. */
    r->phase_handler--;

    return NGX_OK;
}


static ngx_int_t
precontent_handler(ngx_http_request_t *r)
{
    late_conf_t        *conf;
    static ngx_uint_t   moved;

    conf = ngx_http_get_module_loc_conf(r, ngx_http_late_module);

    if (conf->value == NULL || conf->body) {
        return NGX_DECLINED;
    }

    if (!moved) {
        moved = 1;

        if (move_to_end(r) == NGX_OK) {
            return NGX_DECLINED;
        }
    }

    return set_header(r, conf) == NGX_OK ? NGX_DECLINED : NGX_ERROR;
}


static ngx_int_t
request_body_filter(ngx_http_request_t *r, ngx_chain_t *in)
{
    late_conf_t  *conf;

    conf = ngx_http_get_module_loc_conf(r, ngx_http_late_module);

    if (conf->value && conf->body && set_header(r, conf) != NGX_OK) {
        return NGX_HTTP_INTERNAL_SERVER_ERROR;
    }

    return next_request_body_filter(r, in);
}


static char *
late_header(ngx_conf_t *cf, ngx_command_t *command, void *data)
{
    ngx_str_t                          *words;
    late_conf_t                        *conf;
    ngx_http_compile_complex_value_t    compile;

    conf = data;
    words = cf->args->elts;

    conf->name = words[1];
    conf->body = cf->args->nelts == 4;
    conf->value = ngx_palloc(cf->pool, sizeof(ngx_http_complex_value_t));
    if (conf->value == NULL) {
        return NGX_CONF_ERROR;
    }

    ngx_memzero(&compile, sizeof(ngx_http_compile_complex_value_t));
    compile.cf = cf;
    compile.value = &words[2];
    compile.complex_value = conf->value;

    return ngx_http_compile_complex_value(&compile) == NGX_OK ? NGX_CONF_OK
                                                              : NGX_CONF_ERROR;
}


static void *
create_conf(ngx_conf_t *cf)
{
    return ngx_pcalloc(cf->pool, sizeof(late_conf_t));
}


static ngx_int_t
install(ngx_conf_t *cf)
{
    ngx_http_handler_pt        *handler;
    ngx_http_core_main_conf_t  *core;

    core = ngx_http_conf_get_module_main_conf(cf, ngx_http_core_module);

    handler = ngx_array_push(&core->phases[NGX_HTTP_PRECONTENT_PHASE].handlers);
    if (handler == NULL) {
        return NGX_ERROR;
    }

    *handler = precontent_handler;

#ifdef WITH_BODY_FILTER
    next_request_body_filter = ngx_http_top_request_body_filter;
    ngx_http_top_request_body_filter = request_body_filter;
#else
    (void) request_body_filter;
#endif

    return NGX_OK;
}


static ngx_command_t  commands[] = {

    { ngx_string("late_header"),
      NGX_HTTP_LOC_CONF|NGX_CONF_TAKE23,
      late_header,
      NGX_HTTP_LOC_CONF_OFFSET,
      0,
      NULL },

      ngx_null_command
};


static ngx_http_module_t  context = {
    NULL,                                  /* preconfiguration */
    install,                               /* postconfiguration */

    NULL,                                  /* create main configuration */
    NULL,                                  /* init main configuration */

    NULL,                                  /* create server configuration */
    NULL,                                  /* merge server configuration */

    create_conf,                           /* create location configuration */
    NULL                                   /* merge location configuration */
};


ngx_module_t  ngx_http_late_module = {
    NGX_MODULE_V1,
    &context,
    commands,
    NGX_HTTP_MODULE,
    NULL,                                  /* init master */
    NULL,                                  /* init module */
    NULL,                                  /* init process */
    NULL,                                  /* init thread */
    NULL,                                  /* exit thread */
    NULL,                                  /* exit process */
    NULL,                                  /* exit master */
    NGX_MODULE_V1_PADDING
};


/* What ./configure writes for a dynamic module. */

ngx_module_t *ngx_modules[] = {
    &ngx_http_late_module,
    NULL
};

char *ngx_module_names[] = {
    "ngx_http_late_module",
    NULL
};

char *ngx_module_order[] = {
    NULL
};
