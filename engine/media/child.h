/* SPDX-License-Identifier: Apache-2.0
 * `ppv media probe|ingest`: one job in one sandboxed child process. Parent side: domain/mediaq.c.
 * (`ppv media burst` serves many: burstjob.h.)
 *
 * Start:  argv = {"ppv","media","probe"|"ingest"}; fd 3 = input file (read only, regular), fd 4 = output directory (ingest
 *         only; empty or left by an attempt that was cut off, media/journal.h; the parent makes and removes it).
 *         rlimits and uid are the parent's; suggested: as 4 GiB, cpu 60 s + 30 x max_duration_s at most,
 *         fsize 2 GiB, nofile 64, nproc 256 (threads count), nice 10.
 * stdin:  key=value lines ended by an empty line; unknown or repeated keys are refused, values hold no newline.
 *         id=<[A-Za-z0-9_-]{1,64}>                 required; echoed in index.json
 *         title_secret=<64 hex digits>             required for ingest (32 bytes)
 *         segment_s=<1..6>                         default 2
 *         threads=<0..16>                          default 0 = number of cores (top rendition and decoder only)
 *         cores=<0..256>                           default 0 = all: the process keeps to so many
 *         jobs=<0..4096>                           default 0: that share these cores; threads=0 becomes the part of one
 *         encoder=software|auto|<name>             default software; a hardware encoder (coder.h) for films without a mark;
 *                                                  what cannot be is software, and the result says why ("fallback")
 *         max_duration_s=<1..43200>                default 43200
 *         max_height=<144..1080>                   default 1080 (short side of the top rendition)
 *         strength=<0..1.2>                        default 0.95: amplitude of the invisible mark (mark.h); 0 = no mark,
 *                                                  one variant
 *         ext=<file name extension, no dot>        optional, only used in messages
 * stdout: JSON lines, each flushed; the last one is the result or the error:
 *         {"progress":0.42,"eta_s":12.5,"stage":"encode"}        at most two a second (stages: open, encode, finish)
 *         {"result":{...}}   probe:  {"duration","width","height","fps","rotated","container","video","audio","hdr","size"}
 *                            ingest: index.json without the segment arrays ("segment_count" instead) and how many segments,
 *                            of all variants, are an earlier attempt's or new: "kept", "encoded"; always < 16 KiB
 *         {"error":{"code":"media.truncated","message":"<sentence for the creator>"}}
 * Codes:  media.truncated media.unsupported_container media.unsupported_codec media.no_video media.too_long
 *         media.timestamps media.too_many_pixels media.hdr media.disk_full media.cancelled media.bad_job media.internal
 *         media.too_costly (after SIGXCPU)
 * Exit:   0 after a result, 1 after an error, 3 after SIGTERM (error media.cancelled). The output directory of a failed job
 *         is left to the parent. A child that dies without a last line (SIGKILL, SIGSYS) is media.internal.
 *
 * Output directory (all names flat):
 *         index.json      written last, after everything else is synced:
 *           {"version":2,"id","duration","width","height","fps","fps_num","fps_den","segment_s","target_duration",
 *            "poster":"poster.jpg","posters":["poster_1.jpg",...],"has_audio":true,
 *            "renditions":[{"name":"480","w","h","bandwidth","avg_bandwidth","codecs":"avc1.64001e",
 *                           "init":"init_480_<8 hex>.mp4",
 *                           "segment_count":7,"segments":[{"name":"<32 hex>.m4s","dur":2.000000,"iv":"<32 hex>","size":bytes}],
 *                           "segments_b":[...]}],
 *            "audio":[{"name":"audio","channels":2,"default":true,"language":"en","label":"",
 *                      "sample_rate":48000,"bandwidth",...,"codecs":"mp4a.40.2",
 *                      "init":"init_audio_<8 hex>.mp4","segment_count":7,"segments":[...]}],
 *            "strength":0.95,"code":"half"|"nuida" (code.h),
 *            "reference":{"name":"ref",... like a rendition without segments_b},
 *            "subtitles":[{"file":"subs_1.json","codec":"mov_text"|"subrip"|"ass"|"webvtt"|"text","language":"de","label":"",
 *                          "forced":false,"default":true,"cues":12}],
 *            "chapters":[[start ms,"title"],...],
 *            "storyboard":{"w":160,"h":90,"columns":10,"rows":10,"count":7,"interval":2.0,"sheets":["<32 hex>.jpg"]}}
 *           renditions ascend by height; "name" is the short side. "segments" is variant a (picture + mark), "segments_b"
 *           variant b (picture - mark): same count, durations and, one by one, the same file sizes. At strength 0
 *           there is neither segments_b nor reference. The reference is unmarked, its longer side at most 320: it is the
 *           tracer's and never served.
 *           bandwidth (peak segment) and avg_bandwidth are bits/s of that rendition alone: add audio's for a master playlist.
 *           "audio" is [] for silent titles; up to four tracks ("audio", "audio_2" ...), language BCP 47 or "".
 *           "fingerprint":[{"name","iv","size"} whole, {...} coarse]: media/fp.h,
 *             encrypted like segments 0 and 1 of a rendition "fp".
 *         init_<name>_<8 hex>.mp4 clear; <name>.m4s AES-128-CBC with PKCS#7, IV from index.json,
 *           key = HKDF-SHA256(ikm title_secret, no salt, info "v1|<rendition name>|<variant a or b>|<segment number from 0>",
 *           16 bytes).
 *           Decode times lie on the segment grid from 0; an edit list in the init segment takes the
 *           picture's reorder delay away, so picture and sound are shown from 0.000 and end together
 *           (sound within its 21 ms frame at inner borders). Sound needs no edit list: its priming is
 *           cut from the source.
 *         subs_<n>.json [[start ms, end ms, "text as the container has it, UTF-8"], ...] in order of time.
 *         poster.jpg, poster_<n>.jpg.
 *         SHA256SUMS       all other files, in the format of sha256sum. */
/* `ppv media still`: fd 3 = a picture, fd 4 = empty directory. stdin: id. Writes poster.jpg (media/still.h); result
 * {"width","height"}; code media.bad_picture. */
/* Tracing: `ppv media sign|trace`. Same limits, same sandbox; the child gets no code word and no user.
 * sign:   fd 3 = clip, fd 4 = empty directory. stdin: id, ext. Writes clip.fp (media/trace.h);
 *         result {"duration","width","height","fps","pictures"}.
 * trace:  fd 3 = clip, fd 4 = the title's directory (read only), fd 5 = clip.fp. stdin: id, ext,
 *         rate=<num>/<den>          of the title
 *         gop=<pictures>            in a segment
 *         pattern=<64 hex>          K_pattern
 *         init=<file>               of the reference
 *         fp=<file> <iv> <key>      the whole fingerprint ("fingerprint"[0] in index.json, key "v1|fp|a|0";
 *                                   [1] is the coarse one, "v1|fp|a|1")
 *         ref=<file> <iv> <key>     each segment of the reference, in order
 *         result {"match","registration","mirrored","map":[8],"pictures","used",
 *                 "runs":[[clip from, to, title offset, speed, correlation],...],
 *                 "segments":[[number, pictures, amplitude, z],...]}   z > 0 speaks for variant a; up to about 1 MiB. */
#ifndef MEDIA_CHILD_H
#define MEDIA_CHILD_H

/* Entry of the child; argv's last element is the kind. Never called in a worker: it sandboxes the whole process. */
int child_main(int argc, char **argv);
#endif
