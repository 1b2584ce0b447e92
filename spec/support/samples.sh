#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# Test clips for the media specs: samples.sh DIRECTORY [NAME...]
# Makes what is missing (of the names, if there are any) and leaves what is there. Good clips have plain names, hostile ones begin
# with bad_. Pictures are as small and clips as short as what they show allows; LONG=1 makes those that need not be larger larger.
set -eu

dir=${1:?usage: samples.sh DIRECTORY [NAME...]}
shift
only=$*
mkdir -p "$dir"
hd=640x360
[ -z "${LONG:-}" ] || hd=1280x720
cd "$dir"
exec 8>.lock && flock 8 # tests that run at one time share a directory

# make NAME FFMPEG-ARGUMENTS... : written under another name first, so that a broken run leaves nothing behind.
make() {
    name=$1
    shift
    [ -e "$name" ] && return 0
    case " $only " in "  " | *" $name "*) ;; *) return 0 ;; esac
    timeout 900 ffmpeg -nostdin -v error -y "$@" "part.$name"
    mv "part.$name" "$name"
}

# A picture with motion, detail and a clock; a tone.
pic() { # SIZE RATE SECONDS
    echo "testsrc2=size=$1:rate=$2:duration=$3,noise=alls=6:allf=t"
}
tone="sine=frequency=440:beep_factor=4:sample_rate=48000"
x264="-c:v libx264 -preset ultrafast -pix_fmt yuv420p"

make landscape.mp4 -f lavfi -i "$(pic $hd 25 12)" -f lavfi -i "$tone:duration=12" $x264 -c:a aac
make short.mp4 -f lavfi -i "$(pic 320x180 25 3)" -f lavfi -i "$tone:duration=3" $x264 -c:a aac
make tiny.mp4 -f lavfi -i "$(pic 160x120 15 3)" -f lavfi -i "$tone:duration=3" $x264 -c:a aac
make one_frame.mp4 -f lavfi -i "$(pic 320x240 25 1)" -frames:v 1 $x264
make portrait.mp4 -f lavfi -i "$(pic 720x1280 30 3)" -f lavfi -i "$tone:duration=3" $x264 -c:a aac
make silent.mp4 -f lavfi -i "$(pic 640x480 24000/1001 3)" $x264
make odd.mkv -f lavfi -i "$(pic 641x361 25 4)" -f lavfi -i "$tone:duration=4" -c:v libx264 -preset ultrafast -pix_fmt yuv444p -c:a libvorbis
make tenbit.mkv -f lavfi -i "$(pic 1280x720 25 3)" -c:v libx265 -preset ultrafast -x265-params log-level=none -pix_fmt yuv420p10le
# One picture in three lights: SDR, and the same as PQ and HLG with white at 203 cd/m2. hdr_as_sdr is what they are compared with.
hdr() { # NAME TRANSFER X265-TRANSFER MAX-CLL
    make "$1" -f lavfi -i "smptebars=size=640x360:rate=25:duration=2" \
        -vf "scale=out_color_matrix=bt709:out_range=tv,format=yuv444p,setparams=color_primaries=bt709:color_trc=bt709:colorspace=bt709:range=tv,zscale=t=linear:npl=203,format=gbrpf32le,zscale=p=bt2020:t=$2:m=bt2020nc:r=tv:npl=203,format=yuv420p10le" \
        -c:v libx265 -preset ultrafast -x265-params "log-level=none:colorprim=bt2020:transfer=$3:colormatrix=bt2020nc${4:+:max-cll=$4,100}"
}
make hdr_as_sdr.mp4 -f lavfi -i "smptebars=size=640x360:rate=25:duration=2" -vf "scale=out_color_matrix=bt709:out_range=tv,format=yuv420p" \
    -colorspace bt709 -color_primaries bt709 -color_trc bt709 $x264 -qp 4
hdr hdr_pq203.mkv smpte2084 smpte2084 203
hdr hdr_pq.mkv smpte2084 smpte2084
hdr hdr_hlg.mkv arib-std-b67 arib-std-b67
make fullrange.mp4 -f lavfi -i "$(pic 320x240 25 3)" -vf scale=out_range=pc -c:v libx264 -preset ultrafast -pix_fmt yuvj420p
make vp9.webm -f lavfi -i "$(pic 640x360 30 4)" -f lavfi -i "$tone:duration=4" -c:v libvpx-vp9 -deadline realtime -cpu-used 8 -c:a libopus
make vp8.webm -f lavfi -i "$(pic 480x360 30 3)" -f lavfi -i "$tone:duration=3" -c:v libvpx -deadline realtime -cpu-used 8 -c:a libvorbis
make h264.mkv -f lavfi -i "$(pic 640x360 30000/1001 5)" -f lavfi -i "$tone:duration=5" $x264 -c:a flac
make stream.ts -f lavfi -i "$(pic 720x576 25 3)" -f lavfi -i "$tone:duration=3" -vf setsar=16/15 -c:v mpeg2video -q:v 4 -c:a mp2
make interlaced.ts -f lavfi -i "$(pic 720x576 50 3)" -vf "interlace,setsar=16/15" -c:v mpeg2video -flags +ildct+ilme -q:v 4
# Both field orders of one motion, as 25 pictures of 50 fields; the same motion at 25 for comparison. Then one that only says it is interlaced.
field_source="testsrc2=size=640x360:rate=50:duration=2,scroll=h=0.006:v=0.002,format=yuv420p"
make fields_top.mkv -f lavfi -i "$field_source" -vf "interlace=scan=tff:lowpass=0" -c:v libx264 -preset ultrafast -qp 10 -x264-params tff=1
make fields_bottom.mkv -f lavfi -i "$field_source" -vf "interlace=scan=bff:lowpass=0" -c:v libx264 -preset ultrafast -qp 10 -x264-params bff=1
make fields_none.mkv -f lavfi -i "$field_source" -vf "fps=25:round=up,setfield=prog" -c:v libx264 -preset ultrafast -qp 10
# A stream whose pictures change in the middle: 16:9, then 4:3 of another size.
[ -n "$only" ] || [ -e shapes.ts ] || {
    make part1.ts -f lavfi -i "color=green:size=640x360:rate=25:duration=2" $x264
    make part2.ts -f lavfi -i "color=green:size=320x240:rate=25:duration=2" $x264 -output_ts_offset 2
    cat part1.ts part2.ts >part.shapes.ts && mv part.shapes.ts shapes.ts && rm part1.ts part2.ts
}
make pcm.avi -f lavfi -i "$(pic 320x240 15 3)" -f lavfi -i "$tone:duration=3" -c:v mpeg4 -q:v 4 -c:a pcm_s16le
make pal60.mp4 -f lavfi -i "$(pic $hd 60 3)" -f lavfi -i "$tone:duration=3" $x264 -c:a aac
make surround.mkv -f lavfi -i "$(pic 320x180 25 4)" -f lavfi -i "$tone:duration=4" -af "pan=5.1|FL=c0|FR=c0|FC=c0|LFE=c0|BL=c0|BR=c0" $x264 -c:a ac3
# Three sounds a player must offer: 5.1 in German, English (the one to begin with), an unknown language.
make sounds.mkv -f lavfi -i "$(pic 320x180 25 4)" -f lavfi -i "sine=330:sample_rate=48000:duration=4" -f lavfi -i "sine=660:sample_rate=44100:duration=4" \
    -f lavfi -i "sine=990:sample_rate=22050:duration=2" -filter_complex "[1]pan=5.1|FL=0*c0|FR=0*c0|FC=c0|LFE=0*c0|BL=0*c0|BR=0*c0[six]" \
    -map 0 -map "[six]" -map 2 -map 3 $x264 -c:a:0 ac3 -c:a:1 aac -c:a:2 libopus -metadata:s:a:0 language=ger -metadata:s:a:1 language=eng \
    -metadata:s:a:1 title='Original "mix"' -disposition:a 0 -disposition:a:1 default
# Subtitles of every text kind, with what their makers put into them. The Matroska one starts at 1 s: its clock is not the film's.
[ -e subs.srt ] || printf '1\n00:00:00,500 --> 00:00:01,500\n<i>Guten</i> <b>Tag</b>\nzweite Zeile\n\n2\n00:00:02,000 --> 00:00:03,000\n<script>alert(1)</script> \303\244 & {\\an8}oben\n' >subs.srt
[ -e subs.ass ] || printf '[Script Info]\nScriptType: v4.00+\n\n[V4+ Styles]\nFormat: Name, Fontname\nStyle: Default,Arial\n\n[Events]\nFormat: Layer, Start, End, Style, Name, MarginL, MarginR, MarginV, Effect, Text\nDialogue: 0,0:00:00.50,0:00:01.50,Default,,0,0,0,,{\\pos(1,2)}{\\i1}Bonjour{\\i0}, toi\\Nligne deux\nDialogue: 0,0:00:02.00,0:00:03.00,Default,,0,0,0,,{\\p1}m 0 0 l 100 100{\\p0}\n' >subs.ass
make subs.mkv -f lavfi -i "$(pic 320x240 25 4)" -f lavfi -i "$tone:duration=4" -i subs.srt -i subs.ass -map 0 -map 1 -map 2 -map 3 -map 2 $x264 -c:a aac \
    -c:s:0 copy -c:s:1 ass -c:s:2 webvtt -metadata:s:s:0 language=ger -metadata:s:s:1 language=fre -metadata:s:s:1 title='Pour <tous>' -disposition:s:1 default \
    -disposition:s:0 0 -output_ts_offset 1
make subs.mp4 -f lavfi -i "$(pic 320x240 25 4)" -f lavfi -i "$tone:duration=4" -i subs.srt -map 0 -map 1 -map 2 $x264 -c:a aac -c:s mov_text \
    -metadata:s:s:0 language=deu
# Chapters of both containers; the Matroska one starts at 1 s. Titles with what does not belong into one.
[ -e chapters.txt ] || printf ';FFMETADATA1\n[CHAPTER]\nTIMEBASE=1/1000\nSTART=0\nEND=1500\ntitle=The "start"\n[CHAPTER]\nTIMEBASE=1/1000\nSTART=1500\nEND=3000\ntitle=<b>\303\234ber</b> zwei\n[CHAPTER]\nTIMEBASE=1/1000\nSTART=3000\nEND=4000\n' >chapters.txt
for kind in mp4 mkv; do
    make chapters.$kind -f lavfi -i "$(pic 320x240 25 4)" -f lavfi -i "$tone:duration=4" -i chapters.txt -map 0 -map 1 -map_chapters 2 $x264 -c:a aac
done
# Frames dropped at random: a phone in the dark.
make vfr.mp4 -f lavfi -i "$(pic $hd 30 5)" -f lavfi -i "$tone:duration=5" -vf "select='gt(random(1),0.35)'" -fps_mode vfr $x264 -c:a aac
# Sound that starts later, and sound that ends earlier.
make late_sound.mkv -f lavfi -i "$(pic 320x180 25 4)" -itsoffset 1.5 -f lavfi -i "$tone:duration=2" $x264 -c:a aac
make early_end.mp4 -f lavfi -i "$(pic 320x180 25 5)" -f lavfi -i "$tone:duration=2" $x264 -c:a aac
make long_sound.mp4 -f lavfi -i "$(pic 320x180 25 3)" -f lavfi -i "$tone:duration=5" $x264 -c:a aac
make rotated.mp4 -i landscape.mp4 -t 3 -c copy -metadata:s:v:0 rotate=90
make cover.mp4 -i landscape.mp4 -t 3 -map 0 -c copy -metadata title="<script>alert(1)</script>"

[ -z "$only" ] || exit 0
make bad_audio_only.mp4 -f lavfi -i "$tone:duration=3" -c:a aac
make bad_huge.mkv -f lavfi -i "color=black:size=8192x8192:rate=1:duration=1" $x264
make bad_mjpeg.avi -f lavfi -i "$(pic 320x240 25 1)" -c:v mjpeg
# Two pictures ten hours apart, under 2 KB: an encoder that fills gaps would write for hours.
make bad_gap.mp4 -f lavfi -i "color=red:size=64x64:rate=25:duration=0.08" -vf "settb=1/1000,setpts='if(eq(N,0),0,36000000)'" \
    -fps_mode passthrough -enc_time_base 1/1000 $x264
make bad_long.mp4 -f lavfi -i "color=blue:size=32x32:rate=1:duration=3600" $x264

: >bad_empty.mp4
[ -e bad_random.mp4 ] || dd if=/dev/urandom of=bad_random.mp4 bs=1024 count=200 2>/dev/null
[ -e bad_moov.mp4 ] || head -c 300000 landscape.mp4 >bad_moov.mp4
make faststart.mp4 -i landscape.mp4 -t 4 -c copy -movflags +faststart
[ -e bad_cut.mp4 ] || head -c $(($(wc -c <faststart.mp4) / 2)) faststart.mp4 >bad_cut.mp4
[ -e bad_playlist.mp4 ] || printf '#EXTM3U\n#EXT-X-TARGETDURATION:10\n#EXTINF:10,\n/etc/passwd\n#EXT-X-ENDLIST\n' >bad_playlist.mp4
[ -e bad_concat.mp4 ] || printf "ffconcat version 1.0\nfile '/etc/passwd'\n" >bad_concat.mp4
# In eleven places some bytes are noise: the decoder must survive, whatever the verdict.
[ -e damaged.mp4 ] || {
    cp faststart.mp4 part.damaged.mp4
    size=$(wc -c <part.damaged.mp4)
    for at in 1 2 3 4 5 6 7 8 9 10 11; do
        dd if=/dev/urandom of=part.damaged.mp4 bs=1 count=32 seek=$((size * at / 12)) conv=notrunc 2>/dev/null
    done
    mv part.damaged.mp4 damaged.mp4
}
