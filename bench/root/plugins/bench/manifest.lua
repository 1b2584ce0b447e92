-- SPDX-License-Identifier: Apache-2.0
return { name = "bench", kind = "route", api = "1.0", version = "1.0.0", title = "Routes of make bench", caps = {} }
