"use strict";
(() => {
  const charts = JSON.parse(document.getElementById("charts").textContent);
  const dark = matchMedia("(prefers-color-scheme: dark)");
  const colours = 7;
  // What follows an operation's or a run's name: it keeps the colour, and its line is dashed or dotted.
  const suffix = / (response|p50|p99|recorded|replayed)$/;
  const dashes = { response: [6, 4], p99: [6, 4], recorded: [2, 3] };
  // An operation keeps its colour from chart to chart.
  const order = new Map();
  for (const chart of charts) {
    if (chart.kind === "time" && !["client", "host", "lag", "first_byte", "workers_rate", "workers_p99"].includes(chart.id)) {
      for (const line of chart.lines) if (!order.has(line.label)) order.set(line.label, order.size);
    }
  }
  const style = name => getComputedStyle(document.documentElement).getPropertyValue(name).trim();
  const colour = (label, place) => {
    const known = order.get(label.replace(suffix, ""));
    return style("--c" + (known === undefined ? place : known) % colours);
  };
  // Beyond the colours that everybody can tell apart, lines differ by their dashes.
  const dash = (label, place) => {
    const found = label.match(suffix);
    if (found && dashes[found[1]]) return dashes[found[1]];
    const known = order.get(label.replace(suffix, ""));
    return [undefined, [9, 4], [2, 3], [9, 3, 2, 3]][Math.floor((known === undefined ? place : known) / colours) % 4];
  };

  const shade = (chart, place) => colour(chart.lines[place - 1].label, place - 1);
  const dashed = (chart, place) => dash(chart.lines[place - 1].label, place - 1) !== undefined;

  const digits = value => {
    const size = Math.abs(value);
    if (size >= 1e6) return short(value, 1e6, "M");
    if (size >= 1e4) return short(value, 1e3, "k");
    return String(+value.toPrecision(3));
  };
  const short = (value, scale, unit) => +(value / scale).toPrecision(3) + unit;
  const duration = us => {
    if (us >= 1e6) return +(us / 1e6).toPrecision(3) + " s";
    if (us >= 1e3) return +(us / 1e3).toPrecision(3) + " ms";
    return +us.toPrecision(3) + " µs";
  };
  const two = number => String(number).padStart(2, "0");
  const clock = seconds => {
    if (seconds > 0 && seconds < 0.1) return duration(seconds * 1e6);
    if (seconds < 120) return +seconds.toFixed(2) + " s";
    const whole = Math.round(seconds);
    if (whole < 3600) return Math.floor(whole / 60) + (whole % 60 ? "m" + two(whole % 60) : " min");
    return Math.floor(whole / 3600) + "h" + two(Math.floor(whole % 3600 / 60));
  };
  const percentile = nines => {
    if (nines === 0) return "0 %";
    const percent = 100 - 100 * Math.pow(10, -nines);
    return +percent.toFixed(Math.max(1, Math.ceil(nines))) + " %";
  };

  // Ticks at 1, 2 and 5 of every decade, or at the decades alone when there are many.
  const logSplits = (low, high) => {
    const decades = Math.log10(high / low);
    const steps = decades > 3.3 ? [1] : decades > 1.5 ? [1, 2, 5] : decades > 0.6 ? [1, 1.5, 2, 3, 5, 7]
      : [1, 1.2, 1.4, 1.6, 1.8, 2, 2.5, 3, 3.5, 4, 5, 6, 7, 8, 9];
    const splits = [];
    for (let power = Math.floor(Math.log10(low)); power <= Math.ceil(Math.log10(high)); power++) {
      for (const step of steps) {
        const value = +(step * Math.pow(10, power)).toPrecision(3);
        if (value >= low && value <= high) splits.push(value);
      }
    }
    return splits;
  };
  const nineSplits = (high, width) => {
    const splits = width / high < 130 ? [0] : [0, Math.log10(2)];
    const step = Math.ceil(64 * high / Math.max(width - 80, 1));
    for (let nines = 1; nines <= high + 0.01; nines += step) splits.push(nines);
    return splits;
  };

  const range = chart => {
    let low = Infinity, high = -Infinity;
    for (const line of chart.lines) {
      for (const values of [line.values, line.low || [], line.high || []]) {
        for (const value of values) {
          if (value === null) continue;
          low = Math.min(low, value);
          high = Math.max(high, value);
        }
      }
    }
    if (chart.log) return [low / 1.25, high * 1.25];
    return [0, high > 0 ? high * 1.08 : 1];
  };

  const bands = chart => u => {
    const { ctx } = u;
    ctx.save();
    ctx.beginPath();
    ctx.rect(u.bbox.left, u.bbox.top, u.bbox.width, u.bbox.height);
    ctx.clip();
    chart.lines.forEach((line, place) => {
      if (!line.low || !u.series[place + 1].show) return;
      ctx.globalAlpha = chart.lines.length > 4 ? 0.12 : 0.2;
      ctx.fillStyle = colour(line.label, place);
      let upper = [], lower = [];
      const fill = () => {
        if (upper.length) {
          ctx.beginPath();
          for (const [x, y] of upper.concat(lower.reverse())) ctx.lineTo(x, y);
          ctx.fill();
        }
        upper = [];
        lower = [];
      };
      chart.x.forEach((x, index) => {
        if (line.low[index] === null) return fill();
        const left = u.valToPos(x, "x", true);
        upper.push([left, u.valToPos(line.high[index], "y", true)]);
        lower.push([left, u.valToPos(line.low[index], "y", true)]);
      });
      fill();
    });
    ctx.restore();
  };

  // A single point that is missing, as two intervals ended in its neighbour, breaks no line: uPlot passes over undefined.
  const joined = (chart, values) => chart.gaps !== "broken" ? values : values.map((value, at) =>
    value === null && at && at + 1 < values.length && values[at - 1] !== null && values[at + 1] !== null ? undefined : value);

  const build = (holder, chart) => {
    const latency = chart.unit === "µs";
    const nines = chart.kind === "nines";
    const load = chart.kind === "load";
    const across = nines ? percentile : load ? digits : clock;
    const shown = latency ? duration : digits;
    const [low, high] = range(chart);
    const axis = {
      stroke: style("--muted"),
      font: "12px system-ui, sans-serif",
      labelFont: "12px system-ui, sans-serif",
      labelSize: 20,
      grid: { stroke: style("--line"), width: 1 },
      ticks: { stroke: style("--line"), width: 1, size: 5 },
    };
    const options = {
      width: holder.clientWidth,
      height: 280,
      cursor: nines || load ? {} : { sync: { key: "time" } },
      scales: {
        x: { time: false, range: (u, from, to) => from <= chart.x[0] && to >= chart.x[chart.x.length - 1] ? [0, chart.end] : [from, to] },
        y: { distr: chart.log ? 3 : 1, range: () => [low, high] },
      },
      axes: [
        {
          ...axis,
          label: nines ? "percentile of calls" : load ? chart.across : "time since the measured window began",
          space: 64,
          size: 28,
          ...(nines
            ? { splits: u => nineSplits(chart.end, u.width), filter: (u, splits) => splits }
            : load ? {} : { incrs: [1e-6, 2e-6, 5e-6, 1e-5, 2e-5, 5e-5, 1e-4, 2e-4, 5e-4, .001, .002, .005, .01, .02, .05, .1, .2, .5, 1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 14400, 43200, 86400] }),
          values: (u, splits) => splits.map(across),
        },
        {
          ...axis,
          label: chart.axis,
          size: 62,
          ...(chart.log ? { splits: () => logSplits(low, high), filter: (u, splits) => splits } : {}),
          values: (u, splits) => splits.map(value => value === null ? "" : shown(value)),
        },
      ],
      series: [
        { label: nines ? "Percentile" : load ? "Load" : "Time", value: (u, value) => value === null ? "–" : across(value) },
        ...chart.lines.map((line, place) => ({
          label: line.label,
          stroke: colour(line.label, place),
          fill: undefined,
          width: 1.75,
          dash: dash(line.label, place),
          spanGaps: chart.kind === "time" && chart.gaps === "joined",
          points: nines ? { show: false } : { size: 5 },
          value: (u, value) => value === null || value === undefined ? "–" : shown(value),
        })),
      ],
      legend: { markers: {
        width: (u, place) => place && dashed(chart, place) ? 2 : 0,
        stroke: (u, place) => place ? shade(chart, place) : "transparent",
        dash: (u, place) => "dashed",
        fill: (u, place) => place && !dashed(chart, place) ? shade(chart, place) : "transparent",
      } },
      hooks: { drawAxes: [bands(chart)] },
    };
    return new uPlot(options, [chart.x, ...chart.lines.map(line => joined(chart, line.values))], holder);
  };

  let drawn = [];
  const fit = new ResizeObserver(entries => {
    for (const { target, contentRect } of entries) {
      const plot = drawn.find(each => each.root.parentElement === target);
      if (plot && plot.width !== contentRect.width) plot.setSize({ width: contentRect.width, height: 280 });
    }
  });
  const draw = () => {
    for (const plot of drawn) plot.destroy();
    drawn = [];
    for (const holder of document.querySelectorAll("[data-chart]")) {
      drawn.push(build(holder, charts.find(each => each.id === holder.dataset.chart)));
      fit.observe(holder);
    }
  };
  draw();
  dark.addEventListener("change", draw);
})();
