std = "luajit"
codes = true
max_line_length = 160
unused_args = false
exclude_files = { "spec/broken/**", "static/**", "build*/**", "plugins/ppv.d.lua" }
files["spec"] = { std = "+busted" }
files["plugins/*/spec"] = { std = "+busted" }
read_globals = { "SPEC_URL", "SPEC_BOOT" }
