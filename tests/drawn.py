# SPDX-License-Identifier: Apache-2.0
"""What a page draws: a script, run before the page's own, that counts pictures and the points in them."""

from __future__ import annotations

# window.counted has pictures with points, points in all, and milliseconds between pictures; window.count() starts over.
COUNT = """(() => {
  const draw = WebGL2RenderingContext.prototype.drawArrays;
  let at = 0;
  window.count = () => { window.counted = { pictures: 0, points: 0, gaps: [], last: 0 }; at = 0; };
  window.count();
  WebGL2RenderingContext.prototype.drawArrays = function (mode, first, count) {
    if (mode === 0) {
      const now = document.timeline.currentTime, seen = window.counted;
      if (now !== at) {
        if (at) seen.gaps.push(now - at);
        at = now;
        seen.pictures++;
        seen.last = 0;
      }
      seen.points += count;
      seen.last += count;  // in the newest picture
    }
    return draw.call(this, mode, first, count);
  };
})()"""
