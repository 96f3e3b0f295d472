//! All that differs by nginx's version.
//!
//! - Before 1.29.6 nginx has no `sticky`: the directive is ours, and one peer is taken the way
//!   ip_hash takes it. `keepalive` must stay outermost of all that wraps a balancer, because its
//!   request data hide what lies beneath, so it is put back there when it was written first.
//! - From 1.27.3 on, open-source peers are counted and re-resolved.
//! - From 1.29.6 on, `sticky` is nginx's own, and a balancer is told the peer that is wanted by
//!   its id, through all that wraps it.

pub use chosen::*;

#[cfg(not(nginx_own_sticky))]
mod chosen {
    use core::ffi::{c_char, c_void, CStr};
    use core::mem;

    use nginx_sys::{
        ngx_array_t, ngx_command_t, ngx_conf_t, ngx_http_conf_ctx_t, ngx_http_request_t,
        ngx_http_upstream_init_pt, ngx_http_upstream_module, ngx_http_upstream_rr_peer_data_t,
        ngx_http_upstream_rr_peers_t, ngx_http_upstream_srv_conf_t, ngx_int_t, ngx_module_t,
        ngx_peer_connection_t, ngx_str_t, ngx_uint_t, NGX_CONF_1MORE, NGX_CONF_TAKE1,
    };
    use ngx::core::{NGX_CONF_ERROR, NGX_CONF_OK};

    use crate::conf::UpstreamConf;
    use crate::directives::{self, command};
    use crate::nginx::{self, conf_error, Logged, OK};
    use crate::peers::{self, Missing};
    use crate::upstream::Inner;

    pub const COMMANDS_LEN: usize = 2;

    pub const fn add_commands<const N: usize>(
        mut commands: [ngx_command_t; N],
    ) -> [ngx_command_t; N] {
        commands[1] = command(c"sticky", NGX_CONF_1MORE, directives::sticky);
        commands[2] = command(c"keepalive", NGX_CONF_TAKE1, keepalive);
        commands
    }

    /// A `keepalive` directive, and what it wrapped.
    pub struct KeepaliveSeen {
        value: ngx_str_t,
        beneath: ngx_http_upstream_init_pt,
        outermost: ngx_http_upstream_init_pt,
    }

    /// nginx's own `keepalive`, with a note of the balancer that it wraps.
    unsafe extern "C" fn keepalive(
        cf: *mut ngx_conf_t,
        _cmd: *mut ngx_command_t,
        conf: *mut c_void,
    ) -> *mut c_char {
        // SAFETY: nginx is reading an `upstream {}`, whose context holds a configuration of each
        // module; `conf` is ours.
        unsafe {
            let ctx = (*cf).ctx.cast::<ngx_http_conf_ctx_t>();
            let Some((module, own)) = find_keepalive(cf) else {
                conf_error(&mut *cf, format_args!("unknown directive \"keepalive\""));
                return NGX_CONF_ERROR;
            };
            let us = srv_conf(ctx, &raw const ngx_http_upstream_module)
                .cast::<ngx_http_upstream_srv_conf_t>();
            let beneath = (*us).peer.init_upstream;
            let result = call(own, cf, srv_conf(ctx, module));
            if result == NGX_CONF_OK {
                (*conf.cast::<UpstreamConf>()).keepalive = Some(KeepaliveSeen {
                    value: nginx::args(&*cf)[1],
                    beneath,
                    outermost: (*us).peer.init_upstream,
                });
            }
            result
        }
    }

    /// Puts `init` between the balancer and what wraps it; gives the balancer.
    ///
    /// # Safety
    /// `us` and `conf` belong to the configuration that `cf` reads, which is complete.
    pub unsafe fn wrap_balancer(
        cf: &mut ngx_conf_t,
        us: *mut ngx_http_upstream_srv_conf_t,
        conf: &UpstreamConf,
        init: ngx_http_upstream_init_pt,
    ) -> Result<ngx_http_upstream_init_pt, Logged> {
        // SAFETY: by this function's contract.
        unsafe {
            let balancer = (*us).peer.init_upstream;
            (*us).peer.init_upstream = init;
            match &conf.keepalive {
                // A balancer's directive behind `keepalive` has thrown it out: nothing to keep.
                Some(seen) if is_same(seen.outermost, balancer) => {
                    read_keepalive_again(cf, us, seen.value)?;
                    Ok(seen.beneath)
                }
                _ => Ok(balancer),
            }
        }
    }

    fn is_same(one: ngx_http_upstream_init_pt, other: ngx_http_upstream_init_pt) -> bool {
        match (one, other) {
            (Some(one), Some(other)) => core::ptr::fn_addr_eq(one, other),
            (one, other) => one.is_none() && other.is_none(),
        }
    }

    /// Lets nginx read `keepalive` once more, so that it wraps what the upstream has now.
    ///
    /// # Safety
    /// As above.
    unsafe fn read_keepalive_again(
        cf: &mut ngx_conf_t,
        us: *mut ngx_http_upstream_srv_conf_t,
        value: ngx_str_t,
    ) -> Result<(), Logged> {
        // SAFETY: the context and the words live while the handler runs, and it keeps neither; the
        // first word of keepalive's configuration is `max_cached`, zero until it was read.
        unsafe {
            let Some((module, own)) = find_keepalive(cf) else {
                return Err(Logged);
            };
            let name = (*own).name;
            let mut words = [name, value];
            let mut args: ngx_array_t = mem::zeroed();
            args.elts = words.as_mut_ptr().cast();
            args.nelts = words.len() as ngx_uint_t;
            args.size = mem::size_of::<ngx_str_t>();
            args.nalloc = args.nelts;
            args.pool = cf.pool;
            let mut ctx = *cf.ctx.cast::<ngx_http_conf_ctx_t>();
            ctx.srv_conf = (*us).srv_conf;

            let conf = srv_conf(&ctx, module);
            conf.cast::<ngx_uint_t>().write(0);

            let (outer_args, outer_ctx) = (cf.args, cf.ctx);
            cf.args = &mut args;
            cf.ctx = (&raw mut ctx).cast();
            let result = call(own, cf, conf);
            cf.args = outer_args;
            cf.ctx = outer_ctx;

            if result == NGX_CONF_OK {
                Ok(())
            } else {
                Err(Logged)
            }
        }
    }

    unsafe fn find_keepalive(
        cf: *mut ngx_conf_t,
    ) -> Option<(*const ngx_module_t, *mut ngx_command_t)> {
        // SAFETY: nginx's list of modules ends with a null, a module's of commands with no name.
        unsafe {
            let mut modules = (*(*cf).cycle).modules;
            while let Some(module) = (*modules).as_ref() {
                if CStr::from_ptr(module.name) == c"ngx_http_upstream_keepalive_module" {
                    let mut command = module.commands;
                    while !(*command).name.is_empty() {
                        if (*command).name.as_bytes() == b"keepalive" {
                            return Some((module, command));
                        }
                        command = command.add(1);
                    }
                }
                modules = modules.add(1);
            }
            None
        }
    }

    unsafe fn srv_conf(
        ctx: *const ngx_http_conf_ctx_t,
        module: *const ngx_module_t,
    ) -> *mut c_void {
        // SAFETY: by the callers, `ctx` has a configuration of each http module.
        unsafe { *(*ctx).srv_conf.add((*module).ctx_index) }
    }

    unsafe fn call(
        command: *mut ngx_command_t,
        cf: *mut ngx_conf_t,
        conf: *mut c_void,
    ) -> *mut c_char {
        // SAFETY: by the callers, `conf` is what the command's module made.
        match unsafe { (*command).set } {
            Some(set) => unsafe { set(cf, command, conf) },
            None => NGX_CONF_ERROR,
        }
    }

    /// Whether the balancer's request data begin with round robin's, as those of all stock ones.
    ///
    /// # Safety
    /// `data` is what the upstream's balancer made for a request.
    pub unsafe fn is_stock(data: *mut c_void, us: *const ngx_http_upstream_srv_conf_t) -> bool {
        // SAFETY: request data of any balancer are larger than two words.
        unsafe {
            !data.is_null()
                && (*data.cast::<ngx_http_upstream_rr_peer_data_t>()).peers.cast::<c_void>()
                    == (*us).peer.data
        }
    }

    /// Takes one server for the request, as nginx's ip_hash does once it has chosen.
    ///
    /// # Safety
    /// Called from `peer.get`, with a balancer that is stock.
    pub unsafe fn take(
        pc: &mut ngx_peer_connection_t,
        _r: *mut ngx_http_request_t,
        us: *const ngx_http_upstream_srv_conf_t,
        inner: &Inner,
        address: &[u8],
    ) -> Result<ngx_int_t, Missing> {
        // SAFETY: `is_stock` has shown what the data begin with; `found` holds the group's lock.
        unsafe {
            let rrp = &mut *inner.data.cast::<ngx_http_upstream_rr_peer_data_t>();
            let found = peers::find(us, address)?;
            let (group, peer) = (found.group, &mut *found.peer);

            if rrp.peers != group {
                forget_tries(rrp, us);
                rrp.peers = group;
            }
            if is_same_list(rrp, group) {
                let (word, bit) = (found.place / BITS, found.place % BITS);
                *rrp.tried.add(word) |= 1 << bit;
            }
            rrp.current = peer;
            reference(peer);

            pc.cached_reset();
            pc.connection = core::ptr::null_mut();
            pc.sockaddr = peer.sockaddr;
            pc.socklen = peer.socklen;
            pc.name = &mut peer.name;

            peer.conns += 1;
            let now = peers::now();
            if now - peer.checked > peer.fail_timeout {
                peer.checked = now;
            }
            Ok(OK)
        }
    }

    /// Lets the balancer start with the first group, after a server of another was tried.
    ///
    /// # Safety
    /// As above.
    pub unsafe fn start_over(us: *const ngx_http_upstream_srv_conf_t, inner: &Inner) {
        // SAFETY: as above.
        unsafe {
            let rrp = &mut *inner.data.cast::<ngx_http_upstream_rr_peer_data_t>();
            let first = (*us).peer.data.cast::<ngx_http_upstream_rr_peers_t>();
            if rrp.peers != first {
                forget_tries(rrp, us);
                rrp.peers = first;
            }
        }
    }

    const BITS: usize = usize::BITS as usize;

    /// The bits of tried peers belong to one group; there are as many as the larger group needs.
    unsafe fn forget_tries(
        rrp: &mut ngx_http_upstream_rr_peer_data_t,
        us: *const ngx_http_upstream_srv_conf_t,
    ) {
        if core::ptr::eq(rrp.tried, &raw const rrp.data) {
            rrp.data = 0;
            return;
        }
        // SAFETY: nginx allocated the bits for the larger group when the request began; a list
        // that has grown since is recognised by its generation, and then left alone.
        unsafe {
            let first = (*us).peer.data.cast::<ngx_http_upstream_rr_peers_t>();
            if !is_same_list(rrp, first) {
                return;
            }
            let mut most = 0;
            let mut group = first;
            while let Some(peers) = group.as_ref() {
                most = most.max(peers.number as usize);
                group = peers.next;
            }
            for word in 0..most.div_ceil(BITS) {
                rrp.tried.add(word).write(0);
            }
        }
    }

    /// Whether the peers are those that the request's bits were made for.
    #[cfg(nginx_peer_refs)]
    unsafe fn is_same_list(
        rrp: &ngx_http_upstream_rr_peer_data_t,
        group: *const ngx_http_upstream_rr_peers_t,
    ) -> bool {
        // SAFETY: the generation, where there is one, lies in the zone.
        unsafe { (*group).config.is_null() || rrp.config == *(*group).config }
    }

    #[cfg(not(nginx_peer_refs))]
    unsafe fn is_same_list(
        _rrp: &ngx_http_upstream_rr_peer_data_t,
        _group: *const ngx_http_upstream_rr_peers_t,
    ) -> bool {
        true
    }

    #[cfg(nginx_peer_refs)]
    fn reference(peer: &mut nginx_sys::ngx_http_upstream_rr_peer_t) {
        peer.refs += 1;
    }

    #[cfg(not(nginx_peer_refs))]
    fn reference(_peer: &mut nginx_sys::ngx_http_upstream_rr_peer_t) {}

    trait Cached {
        fn cached_reset(&mut self);
    }

    impl Cached for ngx_peer_connection_t {
        fn cached_reset(&mut self) {
            self.set_cached(0);
        }
    }
}

#[cfg(nginx_own_sticky)]
mod chosen {
    use core::ffi::c_void;
    use core::ptr;

    use nginx_sys::{
        ngx_command_t, ngx_conf_t, ngx_http_request_t, ngx_http_upstream_init_pt,
        ngx_http_upstream_srv_conf_t, ngx_int_t, ngx_palloc, ngx_peer_connection_t, ngx_str_t,
    };

    use crate::conf::UpstreamConf;
    use crate::nginx::{self, Logged, DONE, ERROR, OK};
    use crate::peers::{self, Missing};
    use crate::upstream::Inner;

    pub const COMMANDS_LEN: usize = 0;

    pub const fn add_commands<const N: usize>(commands: [ngx_command_t; N]) -> [ngx_command_t; N] {
        commands
    }

    /// Nothing needs to be known of `keepalive`: the wish for a peer passes through it.
    pub enum KeepaliveSeen {}

    /// Wraps all that the upstream has.
    ///
    /// # Safety
    /// `us` belongs to the configuration that `cf` reads, which is complete.
    pub unsafe fn wrap_balancer(
        _cf: &mut ngx_conf_t,
        us: *mut ngx_http_upstream_srv_conf_t,
        _conf: &UpstreamConf,
        init: ngx_http_upstream_init_pt,
    ) -> Result<ngx_http_upstream_init_pt, Logged> {
        // SAFETY: by this function's contract.
        unsafe {
            let balancer = (*us).peer.init_upstream;
            (*us).peer.init_upstream = init;
            Ok(balancer)
        }
    }

    /// # Safety
    /// None beyond valid pointers; peers are read through the upstream, not through these data.
    pub unsafe fn is_stock(_data: *mut c_void, us: *const ngx_http_upstream_srv_conf_t) -> bool {
        // SAFETY: by this function's contract.
        unsafe { !(*us).peer.data.is_null() }
    }

    /// Takes one server for the request: the balancer is told the id of the peer that is wanted.
    ///
    /// # Safety
    /// Called from `peer.get`, with a balancer that is stock.
    pub unsafe fn take(
        pc: &mut ngx_peer_connection_t,
        r: *mut ngx_http_request_t,
        us: *const ngx_http_upstream_srv_conf_t,
        inner: &Inner,
        address: &[u8],
    ) -> Result<ngx_int_t, Missing> {
        // SAFETY: the id is copied while the peer's group is locked, since a peer that is resolved
        // anew may go at any time; the copy lives as long as the request.
        unsafe {
            let hint = {
                let found = peers::find(us, address)?;
                let sid = (*found.peer).sid;
                let copy =
                    ngx_palloc((*r).pool, size_of::<ngx_str_t>() + sid.len).cast::<ngx_str_t>();
                if copy.is_null() {
                    return Ok(ERROR);
                }
                let text = copy.add(1).cast::<u8>();
                ptr::copy_nonoverlapping(sid.data, text, sid.len);
                copy.write(ngx_str_t { len: sid.len, data: text });
                copy
            };
            let Some(get) = inner.get else {
                return Ok(ERROR);
            };
            pc.hint = hint;
            let rc = get(pc, inner.data);
            pc.hint = ptr::null_mut();
            if rc != OK && rc != DONE {
                // The peer was there a moment ago, and another worker has taken its last place.
                return Err(Missing::FULL);
            }
            if !pc.name.is_null() && nginx::bytes(&*pc.name) == address {
                return Ok(rc);
            }
            if let Some(free) = inner.free {
                free(pc, inner.data, 0);
            }
            pc.sockaddr = ptr::null_mut();
            Err(Missing::FAILED)
        }
    }

    /// # Safety
    /// None; the balancer has kept its own account.
    pub unsafe fn start_over(_us: *const ngx_http_upstream_srv_conf_t, _inner: &Inner) {}
}
