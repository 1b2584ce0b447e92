std = "luajit"
codes = true
max_line_length = 130
unused_args = false
exclude_files = { "spec/broken/**", "static/**", "build/**" }
files["spec"] = { std = "+busted" }
files["plugins/*/spec"] = { std = "+busted" }
