/*
 * For tests: a balancer with data of its own, which are not round robin's.
 *
 *     own_balancer;         in an upstream; every request goes to its first server
 *     own_balancer list;    its servers are not round robin's list either
 */

#include <ngx_config.h>
#include <ngx_core.h>
#include <ngx_http.h>


typedef struct {
    void                          *nothing[8];
    ngx_http_upstream_rr_peer_t   *peer;
} own_data_t;


typedef struct {
    ngx_uint_t                     marks[32];
    ngx_http_upstream_rr_peers_t  *peers;
} own_list_t;


static ngx_int_t
get_peer(ngx_peer_connection_t *pc, void *data)
{
    own_data_t  *own = data;

    pc->cached = 0;
    pc->connection = NULL;
    pc->sockaddr = own->peer->sockaddr;
    pc->socklen = own->peer->socklen;
    pc->name = &own->peer->name;

    return NGX_OK;
}


static void
free_peer(ngx_peer_connection_t *pc, void *data, ngx_uint_t state)
{
    pc->tries = 0;
}


static ngx_int_t
init_peer(ngx_http_request_t *r, ngx_http_upstream_srv_conf_t *us)
{
    own_data_t                    *own;
    ngx_http_upstream_rr_peers_t  *peers;

    own = ngx_pcalloc(r->pool, sizeof(own_data_t));
    if (own == NULL) {
        return NGX_ERROR;
    }

    peers = us->peer.data;
    if (((own_list_t *) us->peer.data)->marks[0] == (ngx_uint_t) -1) {
        peers = ((own_list_t *) us->peer.data)->peers;
    }
    own->peer = peers->peer;

    r->upstream->peer.data = own;
    r->upstream->peer.get = get_peer;
    r->upstream->peer.free = free_peer;
    r->upstream->peer.tries = 1;

    return NGX_OK;
}


static ngx_int_t
init_upstream(ngx_conf_t *cf, ngx_http_upstream_srv_conf_t *us)
{
    if (ngx_http_upstream_init_round_robin(cf, us) != NGX_OK) {
        return NGX_ERROR;
    }

    us->peer.init = init_peer;

    return NGX_OK;
}


static ngx_int_t
init_upstream_with_list(ngx_conf_t *cf, ngx_http_upstream_srv_conf_t *us)
{
    own_list_t  *list;

    if (init_upstream(cf, us) != NGX_OK) {
        return NGX_ERROR;
    }

    list = ngx_palloc(cf->pool, sizeof(own_list_t));
    if (list == NULL) {
        return NGX_ERROR;
    }

    /* No address is like that: who takes it for a list of peers crashes. */
    ngx_memset(list->marks, 0xff, sizeof(list->marks));
    list->peers = us->peer.data;
    us->peer.data = list;

    return NGX_OK;
}


static char *
own_balancer(ngx_conf_t *cf, ngx_command_t *command, void *conf)
{
    ngx_http_upstream_srv_conf_t  *us;

    us = ngx_http_conf_get_module_srv_conf(cf, ngx_http_upstream_module);
    us->peer.init_upstream = (cf->args->nelts == 2) ? init_upstream_with_list : init_upstream;

    return NGX_CONF_OK;
}


static ngx_command_t  commands[] = {

    { ngx_string("own_balancer"),
      NGX_HTTP_UPS_CONF|NGX_CONF_NOARGS|NGX_CONF_TAKE1,
      own_balancer,
      0,
      0,
      NULL },

      ngx_null_command
};


static ngx_http_module_t  context;


ngx_module_t  ngx_http_own_balancer_module = {
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
    &ngx_http_own_balancer_module,
    NULL
};

char *ngx_module_names[] = {
    "ngx_http_own_balancer_module",
    NULL
};

char *ngx_module_order[] = {
    NULL
};
