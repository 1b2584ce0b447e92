-- SPDX-License-Identifier: Apache-2.0
return {
  modules = {
    ["ppv.log"] = {},
    ["ppv.crypto"] = { only = {
      "random", "random_token", "sha256", "sha512", "hmac_sha256", "equal", "keccak256", "recover_address", "crc32",
      "verify_certificate",
      "hex_encode", "hex_decode", "base64url_encode", "base64url_decode", "base64_encode", "base64_decode",
      "hex", "unhex", "b64u", "unb64u", "base64url", "unbase64url", "base64", "unbase64",
    } },
    ["ppv.fetch"] = { cap = "fetch" },
    ["ppv.cache"] = { cap = "cache" },
  },
}
