// SPDX-License-Identifier: Apache-2.0
// What leaks go through, as arguments of the ffmpeg command line between input and output. w, h, fps are of the copy that is attacked;
// `bound` is the share of wrong bits that the row may have.
const x264 = (crf, ...more) => ["-c:v", "libx264", "-preset", "superfast", "-crf", `${crf}`, ...more];
const vf = (filter, ...codec) => ["-vf", filter, ...codec];

export const attacks = {
  "as served": () => ["-c", "copy"],
  "CRF 28": () => x264(28),
  "CRF 34": () => x264(34),
  "two passes, 400 kb/s": () => ["-c:v", "libx264", "-preset", "veryfast", "-b:v", "400k"],
  "360p, 250 kb/s": () => vf("scale=-2:360", "-c:v", "libx264", "-preset", "superfast", "-b:v", "250k", "-maxrate", "300k", "-bufsize", "500k"),
  "360p and back, CRF 26": ({ w, h }) => vf(`scale=-2:360,scale=${w}:${h}`, ...x264(26)),
  "240p, CRF 30": () => vf("scale=-2:240", ...x264(30)),
  "HEVC CRF 30": () => ["-c:v", "libx265", "-preset", "ultrafast", "-crf", "30", "-x265-params", "log-level=none"],
  "VP9 400 kb/s": () => ["-c:v", "libvpx-vp9", "-deadline", "realtime", "-cpu-used", "8", "-b:v", "400k"],
  "crop 5 % off the middle": ({ w, h }) => vf(`crop=iw*.95:ih*.95:iw*.01:ih*.03,scale=${w}:${h}`, ...x264(26)),
  "crop 15 % off the middle": ({ w, h }) => vf(`crop=iw*.85:ih*.85:iw*.1:ih*.03,scale=${w}:${h}`, ...x264(26)),
  "crop 10 %, logo": ({ w, h }) => vf(`crop=iw*.9:ih*.9,scale=${w}:${h},drawbox=x=iw*.78:y=ih*.06:w=iw*.16:h=ih*.1:color=orange:t=fill`, ...x264(26)),
  "logo, black bar below": () => vf("drawbox=x=iw*.05:y=ih*.06:w=iw*.2:h=ih*.14:color=blue:t=fill,drawbox=x=0:y=ih*.88:w=iw:h=ih*.12:color=black:t=fill", ...x264(26)),
  "mirrored, CRF 28": () => vf("hflip", ...x264(28)),
  "letterbox": ({ w, h }) => vf(`scale=${w}:${Math.round(h * .76 / 2) * 2},pad=${w}:${h}:0:(oh-ih)/2`, ...x264(26)),
  "shrunk to 75 %, grey border": ({ w, h }) => vf(`scale=iw*.75:ih*.75,pad=${w}:${h}:(ow-iw)/2:(oh-ih)/2:gray`, ...x264(26)),
  "stretched by a third": ({ w, h }) => vf(`scale=${w}:${Math.round(h * 1.3333 / 2) * 2}`, ...x264(26)),
  "perspective": () => vf("perspective=W*.03:H*.02:W*.98:0:0:H:W*.97:H*.96", ...x264(26)),
  "rotated 1.5 degrees, crop 7 %, noise, gamma": ({ w, h }) =>
    vf(`rotate=1.5*PI/180,crop=iw*.93:ih*.93,scale=${w}:${h},noise=c0s=8:c0f=t,eq=gamma=1.2`, ...x264(28)),
  "gamma 1.5": () => vf("eq=gamma=1.5:saturation=1.3", ...x264(26)),
  "30 fps, blended": () => vf("framerate=fps=30", ...x264(26)),
  "24 fps": () => vf("fps=24", ...x264(26)),
  "4 % slower, 24 fps": () => vf("setpts=PTS*25/24", "-r", "24", ...x264(26)),
  "re-timed, with cuts": () => vf("select='not(between(t,11.3,14.1)+between(t,30.7,32))',setpts=N/FRAME_RATE/TB,setpts=PTS/1.03", ...x264(26)),
  "blur, noise, gamma, contrast": () => vf("gblur=sigma=1.3,noise=c0s=10:c0f=t,eq=gamma=1.3:contrast=.88:brightness=.03", ...x264(28)),
  "combined: crop 8 %, 360p, blur, noise, gamma, 30 fps, CRF 30": () =>
    vf("crop=iw*.92:ih*.92:iw*.05:ih*.02,scale=-2:360,gblur=.8,noise=c0s=8:c0f=t,eq=gamma=1.2,fps=30", ...x264(30)),
  "filmed: the same as two rows up, vignette": () =>
    vf("gblur=sigma=1.3,noise=c0s=10:c0f=t,eq=gamma=1.3:contrast=.88:brightness=.03,vignette=PI/6", ...x264(28)),
  "excerpt of 40 s": () => ["-ss", "7.37", "-t", "40", ...x264(28)],
};
export const two_pass = name => name.startsWith("two passes");
/** Wrong bits that a row may have. */
export const limit = name => name.startsWith("filmed") ? .05 : .02;

/** Which of n accounts each two seconds of a copy that is cut together come from: a scatter that ffmpeg can compute too. */
export const sources = (n, salt, seconds) => Array.from({ length: Math.ceil(seconds / 2) }, (_, s) => (s * s * s * 31 + s * 17 + salt) % 10007 % n);
const from = (n, salt, i) => `st(0,floor((t+.001)/2));eq(mod(mod(ld(0)*ld(0)*ld(0)*31+ld(0)*17+${salt},10007),${n}),${i})`;

/** Copies of several accounts made into one; inputs 0 .. n - 1. */
export const collusions = {
  "cut together": (n, salt) => "[0:v]null[p0];"
    + Array.from({ length: n - 1 }, (_, i) => `[p${i}][${i + 1}:v]overlay=enable='${from(n, salt, i + 1)}'[p${i + 1}]`).join(";") + `;[p${n - 1}]null[out]`,
  "averaged": n => Array.from({ length: n }, (_, i) => `[${i}:v]`).join("") + `mix=inputs=${n}[out]`,
};
