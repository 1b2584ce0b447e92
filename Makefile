# Two commands do it all: `make run` and `make test`. See README.md.
SHELL := /bin/bash
CC ?= gcc
BUILD := build$(if $(SAN),-$(SAN))$(if $(SPEC),-spec)
PKGS := libmicrohttpd luajit libpq libcurl openssl libargon2 libsecp256k1 libavformat libavcodec libavutil libswscale \
        libswresample libseccomp
SRC := $(wildcard engine/*/*.c)
OBJ := $(SRC:%.c=$(BUILD)/%.o)
LIBOBJ := $(filter-out $(BUILD)/engine/app/main.o,$(OBJ))
CTEST := $(patsubst spec/c/%.c,$(BUILD)/ctest/%,$(wildcard spec/c/test_*.c))
FUZZ := $(patsubst spec/fuzz/%.c,$(BUILD)/fuzz/%,$(wildcard spec/fuzz/fuzz_*.c))

CFLAGS += -std=gnu17 -O2 -g -Wall -Wextra -Wshadow -Werror -D_GNU_SOURCE -Iengine -MMD -MP -fvisibility=hidden -fPIE \
          -fstack-protector-strong -fno-strict-overflow $(if $(SPEC),-DSPEC=1)
LDFLAGS += -pie -Wl,-z,relro,-z,now -Wl,-z,noexecstack
ifdef SAN
CC := clang-14
CFLAGS += -fsanitize=$(SAN) -fno-omit-frame-pointer -O1
LDFLAGS += -fsanitize=$(SAN)
else
CFLAGS += -D_FORTIFY_SOURCE=2 -fcf-protection
endif
PKGCF = $(shell pkg-config --cflags $(PKGS))
LIBS = $(shell pkg-config --libs $(PKGS)) -lpthread -ldl -lm
Q := $(if $(V),,@)

.PHONY: all setup deps vendor run test ctest spec browser check docs bench fuzz install clean
all: $(BUILD)/ppv

$(BUILD)/ppv: $(OBJ)
	@echo "  LINK  $@"
	$(Q)$(CC) $(LDFLAGS) -o $@ $(OBJ) $(LIBS)

$(BUILD)/%.o: %.c
	@mkdir -p $(@D)
	@echo "  CC    $<"
	$(Q)$(CC) $(CFLAGS) $(PKGCF) -c -o $@ $<

$(BUILD)/ctest/%: spec/c/%.c $(LIBOBJ)
	@mkdir -p $(@D)
	@echo "  CC    $<"
	$(Q)$(CC) $(CFLAGS) $(PKGCF) -Ispec/c $(LDFLAGS) -o $@ $< $(LIBOBJ) $(LIBS)

# Set-up: what is missing is installed; what is there is left alone. A second make reads pkg-config afresh.
deps:
	@deploy/install-deps.sh
vendor: static/vendor/.done
static/vendor/.done: static/package-lock.json static/vendor.sh
	@echo "  fetching the front-end libraries named in static/package-lock.json"
	$(Q)static/vendor.sh && touch $@
setup: deps
	@$(MAKE) --no-print-directory -j$(shell nproc) all vendor

run: setup
	@$(BUILD)/ppv serve --demo

test: setup
	@$(MAKE) --no-print-directory -j$(shell nproc) $(BUILD)/ctest/.all
	@BUILD=$(BUILD) spec/run.sh
$(BUILD)/ctest/.all: $(CTEST)
	@mkdir -p $(@D) && touch $@
# One part or one file: make spec F=spec/http/wallet_spec.lua
ctest: $(BUILD)/ctest/.all
	@BUILD=$(BUILD) spec/run.sh c
spec: all
	@BUILD=$(BUILD) spec/run.sh lua $(F)
browser: all vendor
	@BUILD=$(BUILD) spec/run.sh browser

check: all docs-fresh
	@BUILD=$(BUILD) spec/check/check.sh
docs-fresh:
	@luajit scripts/cli/apidoc.lua --check
docs:
	@luajit scripts/cli/apidoc.lua

bench: all
	@BUILD=$(BUILD) bench/run.sh

$(BUILD)/fuzz/%: spec/fuzz/%.c $(SRC)
	@mkdir -p $(@D)
	$(Q)clang-14 -std=gnu17 -O1 -g -D_GNU_SOURCE -Iengine $(PKGCF) -fsanitize=fuzzer,address,undefined \
	  -o $@ $< $(filter-out engine/app/main.c,$(SRC)) $(LIBS)
fuzz: $(FUZZ)
	@set -e; for f in $(FUZZ); do echo "  FUZZ  $$f"; mkdir -p $$f.corpus; $$f -max_total_time=$(or $(T),60) $$f.corpus 2>&1 | tail -3; done

install: all
	install -D $(BUILD)/ppv $(DESTDIR)/opt/ppv/build/ppv
	cp -r scripts plugins sql static ppv.conf $(DESTDIR)/opt/ppv/

clean:
	rm -rf build build-* static/vendor

-include $(OBJ:.o=.d)
