using Microsoft.Extensions.Logging.Abstractions;
using SensorForwarder.Benchmarks.Buffer;
using SensorForwarder.Buffer;
using SensorForwarder.Forwarding;

namespace SensorForwarder.Benchmarks.Forwarding;

/// <summary>CPU time and allocations per reading of the stages of a drain, in this process: reading the buffer,
/// encoding batches, and the forwarder's loop with a sink that accepts everything immediately. Unlike throughput, these
/// numbers hardly depend on other load on the machine.</summary>
internal static class ForwardStages
{
    const int Readings = 300_000;
    const int BatchSize = 500;
    const int MaxBytes = 245_760;

    public static Benchmark Benchmark { get; } = new(
        [.. new[] { "peek", "encode", "loop", "loop4" }.SelectMany(stage => new[] { Name(stage, Cpu), Name(stage, Allocated) })],
        RunAsync);

    const string Cpu = "microsecondsPerReading";
    const string Allocated = "bytesPerReading";

    static string Name(string stage, string what) => $"forward.stage.{stage}.{what}";

    static async Task<IReadOnlyList<BenchmarkRow>> RunAsync(CancellationToken cancellationToken)
    {
        using var place = new Place();
        var rows = new List<BenchmarkRow>();
        for (var isWarm = false; ; isWarm = true)
        {
            var directory = place.New();
            Opened.MakeBacklog(directory, Readings);
            using (var opened = new Opened(directory))
            {
                Measure("peek", () => Peek(opened.Buffer));
                Measure("encode", () => Encode(opened.Buffer));
                await MeasureAsync("loop", () => DrainAsync(opened.Buffer, window: 1));
            }

            directory = place.New();
            Opened.MakeBacklog(directory, Readings);
            using (var opened = new Opened(directory)) await MeasureAsync("loop4", () => DrainAsync(opened.Buffer, window: 4));
            if (isWarm) return rows;
            rows.Clear();
        }

        void Measure(string stage, Action run) => MeasureAsync(stage, () =>
        {
            run();
            return Task.CompletedTask;
        }).GetAwaiter().GetResult();

        async Task MeasureAsync(string stage, Func<Task> run)
        {
            var (used, bytes) = (Environment.CpuUsage.TotalTime, GC.GetTotalAllocatedBytes());
            var (small, full) = (GC.CollectionCount(0), GC.CollectionCount(2));
            await run();
            (small, full) = (GC.CollectionCount(0) - small, GC.CollectionCount(2) - full);
            rows.Add(new(Name(stage, Cpu), (Environment.CpuUsage.TotalTime - used).TotalMicroseconds / Readings, "us", "CPU"));
            rows.Add(new(Name(stage, Allocated), (double)(GC.GetTotalAllocatedBytes() - bytes) / Readings, "B", $"allocated; {small} collections, {full} of them full"));
        }
    }

    static void Peek(TelemetryBuffer buffer)
    {
        for (var after = 0L; after < Readings;) after = buffer.PeekBatch(after, BatchSize, MaxBytes)[^1].Id;
    }

    static void Encode(TelemetryBuffer buffer)
    {
        var encoder = new BatchEncoder("pi-7", "SensorForwarder");
        var readings = buffer.PeekBatch(0, BatchSize, MaxBytes);
        for (var i = 0; i < Readings / BatchSize; i++) encoder.Encode(readings, MaxBytes);
    }

    static async Task DrainAsync(TelemetryBuffer buffer, int window)
    {
        var sink = new Accepting(window);
        using var forwarder = new Forwarder(
            buffer, new Dictionary<SinkKind, ISink> { [SinkKind.Http] = sink }, new BatchEncoder("pi-7", "SensorForwarder"),
            TimeProvider.System, new Random(1), NullLogger<Forwarder>.Instance);
        forwarder.Apply(new ForwardingSettings { BatchSize = BatchSize, HttpEndpoint = new("http://receiver/") });
        await forwarder.StartAsync(CancellationToken.None);
        while (forwarder.Status.Readings < Readings) await Task.Delay(TimeSpan.FromMilliseconds(1), TimeProvider.System);
        await forwarder.StopAsync(CancellationToken.None);
    }

    /// <summary>Accepts every batch after a thread switch, as a real receiver's answer does.</summary>
    sealed class Accepting(int window) : ISink
    {
        public string Describe(ForwardingSettings settings) => "everything";

        public bool IsReady(ForwardingSettings settings) => true;

        public bool IsHeld => false;

        public Task WaitUntilReadyAsync(CancellationToken cancellationToken) => Task.CompletedTask;

        public int MaxInFlight(ForwardingSettings settings) => window;

        public bool IsMetered => false;

        public int MaxBytes(ForwardingSettings settings) => ForwardStages.MaxBytes;

        public async Task<SendResult> SendAsync(Batch batch, ForwardingSettings settings, CancellationToken cancellationToken)
        {
            await Task.Yield();
            return SendResult.Accepted;
        }
    }
}
