-- SPDX-License-Identifier: Apache-2.0
local crypto = require "ppv.crypto"
local hls = require "lib.hls"
local tsnames = require "lib.tsnames"

-- The lines of a text, as so many values.
local function lines(text)
  local out = {}
  for l in text:gmatch("[^\n]+") do out[#out + 1] = l end
  return unpack(out)
end

describe("lib.hls", function()
  it("writes a master playlist, with and without sound", function()
    local video = { name = "v720", kind = "video", width = 1280, height = 720, bandwidth = 2000000, codecs = "avc1.64001f" }
    assert.equal('#EXTM3U\n#EXT-X-VERSION:7\n#EXT-X-INDEPENDENT-SEGMENTS\n'
      .. '#EXT-X-STREAM-INF:BANDWIDTH=2000000,RESOLUTION=1280x720,CODECS="avc1.64001f"\nv720.m3u8\n', hls.master { video })
    assert.equal('#EXTM3U\n#EXT-X-VERSION:7\n#EXT-X-INDEPENDENT-SEGMENTS\n'
      .. '#EXT-X-MEDIA:TYPE=AUDIO,GROUP-ID="audio",NAME="Audio",DEFAULT=YES,AUTOSELECT=YES,CHANNELS="2",URI="a128.m3u8"\n'
      .. '#EXT-X-STREAM-INF:BANDWIDTH=2128000,RESOLUTION=1280x720,CODECS="avc1.64001f,mp4a.40.2",AUDIO="audio"\nv720.m3u8\n',
      hls.master { video, { name = "a128", kind = "audio", bandwidth = 128000, codecs = "mp4a.40.2" } })
  end)

  it("offers every sound under a name of its own and begins with the default one", function()
    local function sound(name, language, label, is_default)
      return { name = name, kind = "audio", bandwidth = 128000, codecs = "mp4a.40.2", language = language, label = label, is_default = is_default }
    end
    local text = hls.master { sound("audio", "de"), sound("audio_2", "en", 'My "mix"\n#EXT-X-KEY', true), sound("audio_3", "de"), sound("audio_4") }
    local function line(n, name, lang, default, uri)
      assert.equal(('#EXT-X-MEDIA:TYPE=AUDIO,GROUP-ID="audio",NAME="%s"%s,DEFAULT=%s,AUTOSELECT=YES,CHANNELS="2",URI="%s.m3u8"'):format(name,
        lang and (',LANGUAGE="%s"'):format(lang) or "", default, uri), (select(n + 3, lines(text))))
    end
    line(1, "Deutsch", "de", "NO", "audio")
    line(2, "My mix#EXT-X-KEY", "en", "YES", "audio_2")
    line(3, "Deutsch 2", "de", "NO", "audio_3")
    line(4, "Audio", nil, "NO", "audio_4")
  end)

  it("adds subtitles to a master playlist, and a playlist for each", function()
    local master = hls.master { { name = "v720", kind = "video", width = 1280, height = 720, bandwidth = 2000000, codecs = "avc1.64001f" } }
    assert.equal(master, hls.with_subtitles(master, {}))
    local with = hls.with_subtitles(master, { { id = 7, language = "de" }, { id = 8, language = "de", label = 'My "text"\n' }, { id = 9 } })
    assert.equal('#EXTM3U\n#EXT-X-VERSION:7\n#EXT-X-INDEPENDENT-SEGMENTS\n'
      .. '#EXT-X-MEDIA:TYPE=SUBTITLES,GROUP-ID="subs",NAME="Deutsch",LANGUAGE="de",DEFAULT=NO,AUTOSELECT=YES,FORCED=NO,URI="sub-7.m3u8"\n'
      .. '#EXT-X-MEDIA:TYPE=SUBTITLES,GROUP-ID="subs",NAME="My text",LANGUAGE="de",DEFAULT=NO,AUTOSELECT=YES,FORCED=NO,URI="sub-8.m3u8"\n'
      .. '#EXT-X-MEDIA:TYPE=SUBTITLES,GROUP-ID="subs",NAME="Subtitles",DEFAULT=NO,AUTOSELECT=NO,FORCED=NO,URI="sub-9.m3u8"\n'
      .. '#EXT-X-STREAM-INF:BANDWIDTH=2000000,RESOLUTION=1280x720,CODECS="avc1.64001f",SUBTITLES="subs"\nv720.m3u8\n', with)
    assert.equal("#EXTM3U\n#EXT-X-VERSION:7\n#EXT-X-TARGETDURATION:9\n#EXT-X-MEDIA-SEQUENCE:0\n#EXT-X-PLAYLIST-TYPE:VOD\n#EXTINF:8.500000,\n"
      .. "sub-7.vtt\n#EXT-X-ENDLIST\n", hls.subtitles(7, 8.5))
  end)

  it("writes a media playlist: one key for each segment, the target covers the longest", function()
    local text = hls.media("v720", "init_v720.mp4", { { name = "a.m4s", dur = 2, iv = ("0a"):rep(16) }, { name = "b.m4s", dur = 2.4,
      iv = "0x" .. ("0b"):rep(16) } })
    assert.equal([[
#EXTM3U
#EXT-X-VERSION:7
#EXT-X-TARGETDURATION:3
#EXT-X-MEDIA-SEQUENCE:0
#EXT-X-PLAYLIST-TYPE:VOD
#EXT-X-INDEPENDENT-SEGMENTS
#EXT-X-MAP:URI="init_v720.mp4"
#EXT-X-KEY:METHOD=AES-128,URI="k-v720-0.key",IV=0x]] .. ("0a"):rep(16) .. [[

#EXTINF:2.000000,
a.m4s
#EXT-X-KEY:METHOD=AES-128,URI="k-v720-1.key",IV=0x]] .. ("0b"):rep(16) .. [[

#EXTINF:2.400000,
b.m4s
#EXT-X-ENDLIST
]], text)
  end)

  it("lists the same film as transport streams", function()
    local video = { name = "720", kind = "video", width = 1280, height = 720, bandwidth = 2000000, codecs = "avc1.64001f" }
    local sound = { name = "audio", kind = "audio", bandwidth = 100000, codecs = "mp4a.40.2" }
    assert.equal('#EXTM3U\n#EXT-X-VERSION:4\n#EXT-X-INDEPENDENT-SEGMENTS\n'
      .. '#EXT-X-MEDIA:TYPE=AUDIO,GROUP-ID="audio",NAME="Audio",DEFAULT=YES,AUTOSELECT=YES,CHANNELS="2",URI="audio-ts.m3u8"\n'
      .. '#EXT-X-STREAM-INF:BANDWIDTH=2259000,RESOLUTION=1280x720,CODECS="avc1.64001f,mp4a.40.2",AUDIO="audio"\n720-ts.m3u8\n',
      hls.ts_master({ video, sound }, 25))
    assert.same({ "720", 2000000 }, { video.name, video.bandwidth })
    -- Wherever the segments are, streams are made here.
    assert.equal('#EXTM3U\n#EXT-X-VERSION:4\n#EXT-X-TARGETDURATION:2\n#EXT-X-MEDIA-SEQUENCE:0\n#EXT-X-PLAYLIST-TYPE:VOD\n#EXT-X-INDEPENDENT-SEGMENTS\n'
      .. '#EXT-X-KEY:METHOD=AES-128,URI="k-720-0.key",IV=0x' .. ("0a"):rep(16) .. '\n#EXTINF:2.000000,\nf00d.ts\n#EXT-X-ENDLIST\n',
      hls.media("720", "init_720.mp4", { { name = "f00d.m4s", dur = 2, iv = ("0a"):rep(16) } }, { ts = true, base = "https://cdn.example/" }))
    for file, want in pairs { ["720-ts"] = "720 true", ["720"] = "720 false",
      ["-ts"] = "-ts false", ["sub-1-ts"] = "sub-1-ts false", ["a-ts-ts"] = "a-ts-ts false" } do
      local name, is = tsnames.rendition(file)
      assert.equal(want, name .. " " .. tostring(is))
    end
    assert.same({ "f00d.ts", "f00d.m4s" }, { tsnames.segment "f00d.m4s", tsnames.stored "f00d.ts" })
  end)

  it("knows its own file names only", function()
    for name, ext in pairs { ["master.m3u8"] = "m3u8", ["a_b-1.m4s"] = "m4s", ["f00d.ts"] = "ts", ["k-v720-0.key"] = "key", ["init.mp4"] = "mp4" } do
      assert.equal(ext, hls.extension(name))
      assert.is_string(hls.type_of(ext))
    end
    for _, bad in ipairs { "", "a", ".m3u8", "a.b.m3u8", "../a.m3u8", "a/b.m3u8", "a.json", "index.json", "poster.jpg", "a.M3U8", "a.m3u8\0",
      "a%2e.key", "a b.key",
      ("a"):rep(160) .. ".key", "a.m3u8\n" } do
      assert.is_nil(hls.extension(bad), bad)
    end
    assert.same({ "v720", 12 }, { hls.key_name "k-v720-12.key" })
    for _, bad in ipairs { "k-v720.key", "k-v720-.key", "k-V720-1.key", "k-v720--1.key", "k-v720-1.key.key", "k-v720-1234567.key", "k--1.key",
      "xk-v720-1.key" } do
      assert.is_nil(hls.key_name(bad), bad)
    end
  end)

  it("derives a key of its own for every rendition, variant and segment", function()
    local seen, secret = {}, ("s"):rep(32)
    for _, r in ipairs { "v720", "v360", "a128" } do
      for _, variant in ipairs { "a", "b" } do
        for n = 0, 20 do
          local k = hls.key(secret, r, variant, n)
          assert.equal(16, #k)
          assert.is_nil(seen[k])
          seen[k] = true
        end
      end
    end
    assert.equal(crypto.hkdf(secret, "v1|v720|a|3", 16), hls.key(secret, "v720", "a", 3))
  end)
end)
