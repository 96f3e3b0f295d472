# Rules for make, make modules and make install in nginx's tree. Cargo makes the object or the library, so that
# nginx's rules for modules written in C do not apply.

case $NGX_OBJS in
    /*) sticky_learn_objs=$NGX_OBJS ;;
    *) sticky_learn_objs=$PWD/$NGX_OBJS ;;
esac

if [ "$sticky_learn_is_linked" = YES ]; then

cat << END >> $NGX_MAKEFILE

$NGX_OBJS/nginx:	$NGX_OBJS/libngx_http_sticky_learn_module.a

$NGX_OBJS/libngx_http_sticky_learn_module.a:	sticky_learn_cargo
	cmp -s $NGX_OBJS/sticky_learn/release/libngx_http_sticky_learn_module.a \$@ || \\
		cp $NGX_OBJS/sticky_learn/release/libngx_http_sticky_learn_module.a \$@

sticky_learn_cargo:
	NGINX_SOURCE_DIR='$PWD' NGINX_BUILD_DIR='$sticky_learn_objs' \\
		CARGO_TARGET_DIR='$sticky_learn_objs/sticky_learn' \\
		cargo rustc --release --lib --crate-type staticlib --features linked \\
		--manifest-path '$ngx_addon_dir/Cargo.toml'

.PHONY:	sticky_learn_cargo

END

else

# nginx resolves it only later, in auto/install.
case $NGX_MODULES_PATH in
    /*) sticky_learn_to=$NGX_MODULES_PATH ;;
    *) sticky_learn_to=$NGX_PREFIX/$NGX_MODULES_PATH ;;
esac

cat << END >> $NGX_MAKEFILE

modules:	$NGX_OBJS/ngx_http_sticky_learn_module.so

$NGX_OBJS/ngx_http_sticky_learn_module.so:	sticky_learn_cargo
	cp $NGX_OBJS/sticky_learn/release/libngx_http_sticky_learn_module.so \$@.new
	mv -f \$@.new \$@

sticky_learn_cargo:
	NGINX_SOURCE_DIR='$PWD' NGINX_BUILD_DIR='$sticky_learn_objs' \\
		CARGO_TARGET_DIR='$sticky_learn_objs/sticky_learn' \\
		cargo build --release --manifest-path '$ngx_addon_dir/Cargo.toml'

install:	sticky_learn_install

sticky_learn_install:	modules
	test -d '\$(DESTDIR)$sticky_learn_to' || mkdir -p '\$(DESTDIR)$sticky_learn_to'
	cp $NGX_OBJS/ngx_http_sticky_learn_module.so '\$(DESTDIR)$sticky_learn_to/.new'
	mv -f '\$(DESTDIR)$sticky_learn_to/.new' '\$(DESTDIR)$sticky_learn_to/ngx_http_sticky_learn_module.so'

.PHONY:	sticky_learn_cargo sticky_learn_install

END

fi
