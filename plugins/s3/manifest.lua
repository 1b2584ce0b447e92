-- SPDX-License-Identifier: Apache-2.0
return {
  name = "s3", kind = "storage", api = "1.0", version = "1.0.0", title = "S3 and what speaks like it",
  caps = {}, limits = { cpu_ms = 50 }, backends = { "s3", "minio", "r2", "b2" }, settings = {
    { key = "bucket", type = "string", default = "", title = "Bucket" },
    { key = "region", type = "string", default = "us-east-1", title = "Region" },
    { key = "access_key", type = "string", default = "", title = "Access key" },
    { key = "secret_key", type = "secret", default = "", title = "Secret key" },
    { key = "endpoint", type = "url", default = "", title = "Address of the service", help = "Blank: Amazon's, of the region." },
    { key = "public_url", type = "url", default = "", title = "Public address of the bucket",
      help = "Of a network in front of the bucket, or of the bucket itself when anybody may read it. Blank: signed addresses." },
    { key = "path_style", type = "bool", default = false, title = "The bucket's name is in the path" },
  },
}
