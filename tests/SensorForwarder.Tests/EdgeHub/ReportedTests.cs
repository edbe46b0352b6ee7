using System.Text.Json.Nodes;
using CsCheck;
using Microsoft.Extensions.Time.Testing;
using SensorForwarder.EdgeHub;
using SensorForwarder.Tests.Support;

namespace SensorForwarder.Tests.EdgeHub;

public sealed class ReportedTests
{
    readonly FakeHub _hub = new();
    readonly FakeTimeProvider _clock = new();
    readonly LogLines _log = new();

    static JsonObject Parse(string json) => JsonNode.Parse(json)!.AsObject();

    ReportedProperties New() => new(_hub, _clock, new Random(1), _log.For<ReportedProperties>());

    Task Reported(Func<bool> condition) => Until.True(condition, _clock, TimeSpan.FromSeconds(1));

    static Gen<JsonObject> Patches(int depth)
    {
        var leaf = Gen.Int[-1, 3].Select(number => number < 0 ? null : (JsonNode?)JsonValue.Create(number));
        var value = depth == 0 ? leaf : Gen.OneOf(leaf, Patches(depth - 1).Select(inner => (JsonNode?)inner));
        return Gen.Select(Gen.Char['a', 'c'].Select(c => $"{c}"), value).Array[0, 3].Select(pairs =>
        {
            var patch = new JsonObject();
            foreach (var (key, node) in pairs) patch[key] = node?.DeepClone();
            return patch;
        });
    }

    [Fact]
    public void A_merged_patch_equals_both_patches_in_sequence_or_is_not_created()
    {
        var composed = 0;
        Gen.Select(Patches(2), Patches(2), Patches(2)).Sample(
            triple =>
            {
                var (first, second, document) = triple;
                var expected = document.DeepClone().AsObject();
                MergePatch.Apply(expected, first);
                MergePatch.Apply(expected, second);
                var merged = first.DeepClone().AsObject();
                if (!MergePatch.TryCompose(merged, second)) return JsonNode.DeepEquals(merged, first);
                composed++;
                var actual = document.DeepClone().AsObject();
                MergePatch.Apply(actual, merged);
                return JsonNode.DeepEquals(expected, actual);
            },
            seed: "0000000000003", iter: 5000, threads: 1);
        Assert.InRange(composed, 2500, 4990);
    }

    [Fact]
    public async Task Waiting_patches_are_merged_and_sent_at_a_limited_rate()
    {
        using var reported = New();
        for (var i = 0; i < 100; i++) reported.Report(Parse($$$"""{"n":{{{i}}},"k{{{i % 3}}}":{"x":{{{i}}}}}"""));
        await reported.StartAsync(TestContext.Current.CancellationToken);
        await Reported(() => _hub.Patches.Count == 1);
        Assert.Equal("""{"n":99,"k0":{"x":99},"k1":{"x":97},"k2":{"x":98}}""", _hub.Patches[0].ToJsonString());

        var before = _clock.GetUtcNow();
        for (var i = 0; i < 100; i++) reported.Report(Parse($$"""{"n":{{i}}}"""));
        await Reported(() => _hub.Patches.Count == 2);
        Assert.True(_clock.GetUtcNow() - before >= ReportedProperties.Interval - TimeSpan.FromSeconds(1));
        await reported.StopAsync(CancellationToken.None);
    }

    [Theory]
    [InlineData(429)]
    [InlineData(500)]
    [InlineData(503)]
    [InlineData(0)]
    public async Task A_patch_that_failed_temporarily_is_retried_and_newer_values_win(int status)
    {
        _hub.PatchStatuses.Enqueue(status);
        _hub.PatchStatuses.Enqueue(status);
        using var reported = New();
        await reported.StartAsync(TestContext.Current.CancellationToken);
        reported.Report(Parse("""{"a":1,"b":1}"""));
        await Until.True(() => _log.Has("[5012]"));
        reported.Report(Parse("""{"b":2}"""));
        await Reported(() => _hub.Patches.Count == 1);
        Assert.Equal("""{"a":1,"b":2}""", _hub.Patches[0].ToJsonString());
        await reported.StopAsync(CancellationToken.None);
    }

    [Fact]
    public async Task A_patch_that_is_refused_permanently_is_logged_and_does_not_delay_later_ones()
    {
        _hub.PatchStatuses.Enqueue(400);
        using var reported = New();
        await reported.StartAsync(TestContext.Current.CancellationToken);
        reported.Report(Parse("""{"bad.name":1}"""));
        await _log.Waits("refuses reported properties (bad.name) with status 400");
        reported.Report(Parse("""{"good":1}"""));
        await Reported(() => _hub.Patches.Count == 1);
        await reported.StopAsync(CancellationToken.None);
    }

    [Fact]
    public async Task A_patch_above_32_KB_is_split_and_a_single_key_above_the_limit_is_omitted_and_logged()
    {
        using var reported = New();
        var patch = new JsonObject { ["huge"] = new string('x', 40_000) };
        for (var i = 0; i < 10; i++) patch[$"k{i}"] = new string((char)('a' + i), 8000);
        reported.Report(patch);
        await reported.StartAsync(TestContext.Current.CancellationToken);
        await Reported(() => _hub.Reported.Count == 10);
        Assert.All(_hub.Patches, sent => Assert.InRange(System.Text.Encoding.UTF8.GetByteCount(sent.ToJsonString()), 1, ReportedProperties.MaxBytes));
        Assert.True(_log.Has("The reported property huge has 40011 bytes"));
        await reported.StopAsync(CancellationToken.None);
    }
}
