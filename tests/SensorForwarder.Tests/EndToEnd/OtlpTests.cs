using System.Buffers.Binary;
using System.Collections.Concurrent;
using System.IO.Compression;
using System.Security.Cryptography.X509Certificates;
using Microsoft.AspNetCore.Http;
using Microsoft.AspNetCore.Server.Kestrel.Core;
using SensorForwarder.Tests.Operations;
using SensorForwarder.Tests.Support;

namespace SensorForwarder.Tests.EndToEnd;

/// <summary>The module pushes its metrics to a collector, as configured by the <c>OTEL_*</c> variables.</summary>
public sealed class OtlpTests
{
    const string Settings = """{"batchSize":1,"commitIntervalMs":0,"sensors":{"attic":{"kind":"simulated","intervalSeconds":3600},"gone":{"kind":"file","path":"/none","intervalSeconds":3600}}}""";

    static readonly (string, string) Often = ("OTEL_METRIC_EXPORT_INTERVAL", "200");

    // Metrics whose value differs at each collection.
    static readonly string[] Moving = ["uptime_seconds", "process_memory_bytes", "flash_written_bytes_total", "flash_written_bytes_per_year", "queue_oldest_age_seconds"];

    static CancellationToken Token => TestContext.Current.CancellationToken;

    static Task<Receiver> TakingAsync() => Receiver.StartAsync(_ => Task.CompletedTask);

    /// <summary>The message in a request. gRPC puts it into a frame whose first byte says whether it is compressed; HTTP uses a header.</summary>
    static async Task<byte[]> UnpackAsync(HttpRequest request)
    {
        using var body = new MemoryStream();
        await request.Body.CopyToAsync(body);
        var message = body.ToArray();
        var isPacked = request.Headers.ContentEncoding == "gzip";
        if (request.ContentType == "application/grpc")
        {
            isPacked = message[0] == 1;
            Assert.Equal(message.Length - 5, BinaryPrimitives.ReadInt32BigEndian(message.AsSpan(1)));
            message = message[5..];
        }

        if (!isPacked) return message;
        using var gzip = new GZipStream(new MemoryStream(message), CompressionMode.Decompress);
        using var plain = new MemoryStream();
        await gzip.CopyToAsync(plain);
        return plain.ToArray();
    }

    static async Task AcceptAsync(HttpContext context)
    {
        if (context.Request.ContentType != "application/grpc") return;
        context.Response.ContentType = "application/grpc";
        context.Response.AppendTrailer("grpc-status", "0");
        await context.Response.Body.WriteAsync(new byte[5]);
    }

    /// <summary>Each sample as a line, without the labels that a push contains once for all samples.</summary>
    static IEnumerable<string> Lines(IEnumerable<PrometheusFamily> families, bool withMoving) =>
        from family in families
        where withMoving || !Moving.Contains(family.Name["sensorforwarder_".Length..])
        from sample in family.Samples
        let labels = sample.Labels.Where(label => label.Key is not ("iothub" or "edge_device" or "module" or "instance_number")).OrderBy(label => label.Key, StringComparer.Ordinal)
        let line = $"{family.Type} {sample.Name} {string.Join(',', labels)} {family.Help}"
        orderby line
        select withMoving ? line : $"{line} {sample.Value}";

    [Theory]
    [InlineData("http/protobuf", "gzip", Explicit = true)]
    [InlineData(null, "none", Explicit = true)]
    [InlineData("http/protobuf", "none", Explicit = true)]
    [InlineData("grpc", "gzip", Explicit = true)]
    public async Task A_collector_receives_the_same_metrics_as_the_metrics_page(string? protocol, string compression)
    {
        byte[] latest = [];
        var (path, key, tenant) = ("", "", "");
        await using var collector = await Receiver.StartAsync(
            async context =>
            {
                (path, key, tenant) = (context.Request.Path, context.Request.Headers["api-key"].ToString(), context.Request.Headers["x-tenant"].ToString());
                latest = await UnpackAsync(context.Request);
                await AcceptAsync(context);
            },
            protocols: protocol == "http/protobuf" ? HttpProtocols.Http1 : HttpProtocols.Http2);
        await using var receiver = await TakingAsync();
        await using var web = await WebProcess.StartAsync(
            Settings,
            ("Http__Endpoint", receiver.Url.ToString()),
            ("Device__Id", "pi-7"),
            ("OTEL_EXPORTER_OTLP_ENDPOINT", $"http://{collector.Url.Authority}"),
            ("OTEL_EXPORTER_OTLP_PROTOCOL", protocol ?? ""),
            ("OTEL_EXPORTER_OTLP_COMPRESSION", compression),
            ("OTEL_EXPORTER_OTLP_HEADERS", "api-key=a%2Cb, x-tenant=attic"),
            ("OTEL_SERVICE_NAME", "thermometer"),
            ("OTEL_RESOURCE_ATTRIBUTES", "site=north%20wing,service.name=other"),
            Often);
        await Until.True(() => web.Module.ThreadNames.Contains("OpenTelemetry-P")); // a thread sets its own name after it has started

        // Once no counter changes any more, page and push are equal.
        IReadOnlyList<PrometheusFamily> page = [];
        await Until.True(async () =>
        {
            var pushed = latest;
            if (pushed.Length == 0) return false;
            page = PrometheusText.Read(await web.Http.GetStringAsync("/metrics", Token));
            return Total("readings_accepted") >= 1 && Total("sensor_failures") >= 1
                && Lines(page, withMoving: false).SequenceEqual(Lines(OtlpMetrics.Read(pushed).Families, withMoving: false));
        });
        double Total(string name) => page.Single(family => family.Name == $"sensorforwarder_{name}_total").Samples.Sum(sample => sample.Value);
        var push = OtlpMetrics.Read(latest);
        Assert.Equal(Lines(page, withMoving: true), Lines(push.Families, withMoving: true));

        var labels = page[0].Samples[0].Labels;
        Assert.Equal(
            [
                ("edge_device", "pi-7"), ("iothub", ""), ("module", "SensorForwarder"), ("service.instance.id", labels["instance_number"]),
                ("service.name", "thermometer"), ("service.version", page.Single(family => family.Name == "sensorforwarder_build_info").Samples[0].Labels["version"]), ("site", "north wing"),
            ],
            push.Resource.Where(attribute => !attribute.Key.StartsWith("telemetry.sdk.", StringComparison.Ordinal)).Select(attribute => (attribute.Key, attribute.Value)).OrderBy(attribute => attribute.Key, StringComparer.Ordinal));
        Assert.Equal(protocol == "http/protobuf" ? "/v1/metrics" : "/opentelemetry.proto.collector.metrics.v1.MetricsService/Export", path);
        Assert.Equal(("a,b", "attic"), (key, tenant));
    }

    [Fact(Explicit = true)]
    public async Task When_OpenTelemetry_is_disabled_no_thread_of_it_runs_and_nothing_is_logged()
    {
        await using var web = await WebProcess.StartAsync(
            Settings, Often, ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://127.0.0.1:9"), ("OTEL_SDK_DISABLED", "true"));
        Assert.DoesNotContain("OpenTelemetry-P", web.Module.ThreadNames);
        Assert.DoesNotContain(web.Module.Lines, line => line.Contains("OTLP", StringComparison.Ordinal));
    }

    [Fact(Explicit = true)]
    public async Task A_collector_that_rejects_metrics_is_logged_once_and_so_is_its_recovery()
    {
        var (refused, isUp) = (0, false);
        await using var collector = await Receiver.StartAsync(context =>
        {
            context.Response.StatusCode = Volatile.Read(ref isUp) ? 200 : 503;
            if (!isUp) Interlocked.Increment(ref refused);
            return Task.CompletedTask;
        });
        await using var web = await WebProcess.StartAsync(
            Settings,
            ("OTEL_EXPORTER_OTLP_METRICS_ENDPOINT", $"http://{collector.Url.Authority}/in?key=secret"),
            ("OTEL_EXPORTER_OTLP_METRICS_PROTOCOL", "http/protobuf"),
            Often);
        await Until.True(() => Volatile.Read(ref refused) > 5);
        Volatile.Write(ref isUp, true);
        await web.Module.LineAsync("by OTLP again");
        var line = Assert.Single(web.Module.Lines, line => line.Contains("could not be pushed", StringComparison.Ordinal));
        Assert.Contains($"http://{collector.Url.Authority}/in?.. by OTLP: answered 503.", line, StringComparison.Ordinal);
        Assert.Equal(0, await web.Module.StopAsync());
        Assert.DoesNotContain(web.Module.Lines, line => line.Contains("secret", StringComparison.Ordinal));
    }

    [Fact(Explicit = true)]
    public async Task A_collector_with_a_certificate_of_another_root_is_sent_nothing()
    {
        using var ours = new Certificates();
        using var theirs = new Certificates("other root");
        using var certificate = ours.Issue();
        await using var collector = await Receiver.StartAsync(AcceptAsync, certificate);
        await using var web = await WebProcess.StartAsync(
            Settings,
            ("OTEL_EXPORTER_OTLP_ENDPOINT", $"https://{collector.Url.Authority}"),
            ("OTEL_EXPORTER_OTLP_CERTIFICATE", theirs.Files().Roots!.Path),
            Often);
        await web.Module.LineAsync("by OTLP: TLS: ");
        Assert.Equal(0, collector.Requests);
    }

    [Theory]
    [InlineData("http/protobuf", true, Explicit = true)]
    [InlineData("http/protobuf", false, Explicit = true)]
    [InlineData("grpc", true, Explicit = true)]
    [InlineData("grpc", false, Explicit = true)]
    public async Task A_collector_that_is_down_or_never_answers_delays_neither_forwarding_nor_a_stop(string protocol, bool isThere)
    {
        var batches = new ConcurrentQueue<string>();
        await using var receiver = await Receiver.StartAsync(context =>
        {
            batches.Enqueue(context.Request.Headers["Idempotency-Key"].ToString());
            return Task.CompletedTask;
        });
        var asked = new TaskCompletionSource();
        await using var hanging = await Receiver.StartAsync(
            async context =>
            {
                asked.TrySetResult();
                await Task.Delay(Timeout.InfiniteTimeSpan, TimeProvider.System, context.RequestAborted).ConfigureAwait(ConfigureAwaitOptions.SuppressThrowing);
            },
            protocols: protocol == "grpc" ? HttpProtocols.Http2 : HttpProtocols.Http1);
        await using var web = await WebProcess.StartAsync(
            """{"batchSize":1,"commitIntervalMs":0,"sensors":{"attic":{"kind":"simulated","intervalSeconds":0.05}}}""",
            ("Http__Endpoint", receiver.Url.ToString()),
            ("OTEL_EXPORTER_OTLP_ENDPOINT", isThere ? $"http://{hanging.Url.Authority}" : "http://127.0.0.1:9"),
            ("OTEL_EXPORTER_OTLP_PROTOCOL", protocol),
            ("OTEL_EXPORTER_OTLP_TIMEOUT", "600000"),
            Often);
        if (isThere) await asked.Task.WaitAsync(Until.Limit, TimeProvider.System, Token);
        else await web.Module.LineAsync("by OTLP: Connection refused");
        var count = batches.Count;
        await Until.True(() => batches.Count > count + 20);

        // The hanging push has a timeout of ten minutes, but it does not delay the stop.
        Assert.Equal(0, await web.Module.StopAsync());
    }
}
