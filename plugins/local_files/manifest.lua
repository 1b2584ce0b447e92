-- SPDX-License-Identifier: Apache-2.0
return {
  name = "local_files", kind = "storage", api = "1.0", version = "1.0.0", title = "Files on this machine",
  caps = {}, limits = { cpu_ms = 5 }, settings = {},
}
