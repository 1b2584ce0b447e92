-- SPDX-License-Identifier: Apache-2.0
-- `ppv serve --demo` starts here.
return require("cli.demo_seed").run()
