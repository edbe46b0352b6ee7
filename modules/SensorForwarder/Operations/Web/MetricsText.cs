using System.Diagnostics.Metrics;
using System.Globalization;
using System.Text;
using SensorForwarder.Operations.Metrics;

namespace SensorForwarder.Operations.Web;

/// <summary>
/// Writes the instruments of <see cref="ModuleMetrics"/> as Prometheus text 0.0.4, limited to what IoT Edge's
/// metrics-collector reads: no timestamps, no exemplars, no infinite values. A scrape observes the observable
/// instruments; this type accumulates the histograms. Thread-safe.
/// </summary>
internal sealed class MetricsText : IDisposable
{
    public const string ContentType = "text/plain; version=0.0.4; charset=utf-8";

    readonly Lock _gate = new();
    readonly ModuleMetrics _metrics;
    readonly MeterListener _listener = new();
    readonly List<Family> _families = [];
    readonly StringBuilder _text = new();

    public MetricsText(ModuleMetrics metrics)
    {
        _metrics = metrics;
        _listener.InstrumentPublished = (instrument, listener) =>
        {
            if (!ReferenceEquals(instrument.Meter, metrics.Meter)) return;
            var family = new Family(instrument, metrics.Labels);
            _families.Add(family);
            listener.EnableMeasurementEvents(instrument, family);
        };
        _listener.SetMeasurementEventCallback<long>(
            static (_, value, tags, family) => ((Family)family!).Add(value, tags));
        _listener.SetMeasurementEventCallback<double>(
            static (_, value, tags, family) => ((Family)family!).Add(value, tags));
        _listener.Start();
    }

    public byte[] Write()
    {
        lock (_gate)
        {
            foreach (var family in _families) family.Clear();
            _metrics.Refresh();
            _listener.RecordObservableInstruments();
            _text.Clear();
            foreach (var family in _families) family.WriteTo(_text);
            return Encoding.UTF8.GetBytes(_text.ToString());
        }
    }

    public void Dispose() => _listener.Dispose();

    static string Escape(string text) => text.Replace("\\", @"\\", StringComparison.Ordinal)
        .Replace("\n", @"\n", StringComparison.Ordinal).Replace('\r', ' '); // the collector ends the line at \r

    static string Label(KeyValuePair<string, object?> label) =>
        $"{label.Key}=\"{Escape(label.Value as string ?? "").Replace("\"", "\\\"", StringComparison.Ordinal)}\",";

    static string Format(double value) => value.ToString("R", CultureInfo.InvariantCulture);

    /// <summary>An instrument with its samples, or with its buckets.</summary>
    sealed class Family
    {
        readonly Instrument _instrument;
        readonly string _labels;
        readonly string _type;
        readonly string _name;
        readonly List<(string Labels, double Value)> _samples = [];

        // Only for a histogram. Guarded by _counts, since other threads record values at any time.
        readonly double[] _bounds;
        readonly long[] _counts;
        double _sum;

        public Family(Instrument instrument, IReadOnlyList<KeyValuePair<string, object?>> labels)
        {
            _instrument = instrument;
            _labels = string.Concat(labels.Select(Label));
            _bounds = [.. (instrument as Histogram<double>)?.Advice?.HistogramBucketBoundaries ?? []];
            _counts = new long[_bounds.Length + 1];
            _type = instrument switch
            {
                Histogram<double> => "histogram",
                ObservableCounter<long> => "counter",
                _ => "gauge",
            };
            _name = _type == "counter" ? $"{instrument.Name}_total" : instrument.Name;
        }

        public void Clear() => _samples.Clear();

        public void Add(double value, ReadOnlySpan<KeyValuePair<string, object?>> tags)
        {
            if (_type == "histogram")
            {
                var bucket = Array.FindIndex(_bounds, bound => value <= bound);
                lock (_counts)
                {
                    _counts[bucket < 0 ? _bounds.Length : bucket]++;
                    _sum += value;
                }

                return;
            }

            var text = new StringBuilder(_labels);
            foreach (var tag in tags) text.Append(Label(tag));
            _samples.Add((text.ToString(), value));
        }

        public void WriteTo(StringBuilder text)
        {
            text.Append("# HELP ").Append(_name).Append(' ').Append(Escape(_instrument.Description ?? ""))
                .Append("\n# TYPE ").Append(_name).Append(' ').Append(_type).Append('\n');
            foreach (var (labels, value) in _samples) AppendSample(text, "", labels, value);
            if (_type != "histogram") return;
            lock (_counts)
            {
                var sum = 0L;
                for (var i = 0; i < _counts.Length; i++)
                {
                    sum += _counts[i];
                    AppendSample(text, "_bucket", $"{_labels}le=\"{(
                        i < _bounds.Length ? Format(_bounds[i]) : "+Inf")}\",", sum);
                }

                AppendSample(text, "_sum", _labels, _sum);
                AppendSample(text, "_count", _labels, sum);
            }
        }

        void AppendSample(StringBuilder text, string suffix, string labels, double value) =>
            text.Append(_name).Append(suffix).Append('{').Append(labels.AsSpan().TrimEnd(',')).Append("} ")
                .Append(Format(value)).Append('\n');
    }
}
