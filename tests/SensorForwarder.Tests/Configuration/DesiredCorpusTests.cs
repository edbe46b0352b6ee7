using System.Text;
using System.Text.Json.Nodes;
using CsCheck;
using SensorForwarder.Configuration;
using SensorForwarder.Tests.Support;
using SensorForwarder.Text;

namespace SensorForwarder.Tests.Configuration;

/// <summary>Desired documents that were valid and were then mutated: values of other types, changed bytes, missing or duplicated
/// pieces. A settings store applies them to all real parts.</summary>
public sealed class DesiredCorpusTests
{
    static readonly int Count = Tier.Size("TEST_DESIRED_DOCUMENTS", quick: 500, full: 5_000, deep: 5_000);

    // Mostly valid values, so that most keys of most documents are valid and some are not.
    static readonly string[] Fragments =
    [
        "\"sink\":\"http\"", "\"sink\":\"iothub\"", "\"sink\":\"HTTP\"", "\"sink\":null", "\"httpEndpoint\":\"http://a/in\"", "\"httpEndpoint\":\"ftp://a\"",
        "\"httpEndpoint\":\"http://u:p@a/\"", "\"httpEndpoint\":\"http://\\u00e4.example/\\u20ac?\\u4e00\"", "\"batchSize\":50", "\"batchSize\":\"50\"", "\"batchSize\":50.0", "\"batchSize\":1e308",
        "\"batchSize\":1e999999", "\"batchSize\":-0", "\"batchSize\":5.5", "\"batchSize\":{\"value\":5}",
        "\"batchMaxBytes\":4096", "\"batchMaxBytes\":1e-400", "\"uploadIntervalSeconds\":0.25", "\"uploadIntervalSeconds\":true",
        "\"maxInFlightBatches\":8", "\"maxInFlightBatches\":[8]", "\"compression\":\"gzip\"", "\"compression\":\"zip\"", "\"messageFormat\":\"pnp\"",
        "\"drainOrder\":\"liveFirst\"", "\"backfillBatchesPerMinute\":60", "\"backfillBatchesPerMinute\":99999999999",
        "\"commitIntervalMs\":20", "\"commitIntervalMs\":123456789012345678901234567890", "\"bufferMaxMegabytes\":64", "\"bufferMaxAgeHours\":1", "\"retainForwardedHours\":24",
        "\"whenFull\":\"dropOldest\"", "\"whenFull\":[\"thin\"]", "\"pollIntervalSeconds\":3600", "\"pollIntervalSeconds\":1e-9",
        "\"logLevel\":\"Warning\"", "\"logLevel\":\"warning\"", "\"logLevel\":3", "\"statusIntervalSeconds\":60", "\"settingsTrialMinutes\":5",
        "\"batchsize\":5", "\"BATCHSIZE\":5", "\"\":1", "\"a.b $c\":{\"#\":[null]}", "\"$version\":7", "\"$metadata\":{\"x\":1}",
        "\"sensors\":{}", "\"sensors\":null", "\"sensors\":[]", "\"sensors\":\"host\"", "\"sensors\":{\"a\":{\"kind\":\"simulated\"}}",
        "\"sensors\":{\"a\":{\"kind\":\"simulated\",\"seed\":\"x\"},\"b\":{\"kind\":\"host\"}}", "\"sensors\":{\"b c\":{\"kind\":\"host\"},\"d\":7,\"e\":{\"kind\":\"simulated\",\"intervalSeconds\":1e400}}",
        "\"sensors\":{\"f\":{\"kind\":{\"kind\":{\"kind\":\"host\"}}},\"g\":{\"kind\":\"simulated\",\"intervalSeconds\":3600}}",
        $"\"long\":\"{new string('x', 32 << 10)}\"",
        $"\"sensors\":{{{string.Join(',', Enumerable.Range(0, 600).Select(i => $"\"s{i}\":{{\"kind\":\"nothing\",\"n\":{i}}}"))}}}",
    ];

    // Each of these alone makes a document invalid; so do two equal keys.
    static readonly string[] Broken =
    [
        "\"batchSize\":0000", "\"batchSize\":NaN", "\"\\ud800\":1", "\"sensors\":{\"a\":{\"kind\":\"host\"},\"a\":{\"kind\":\"host\"}}",
        $"\"deep\":{new string('[', 80)}{new string(']', 80)}", "\"batchSize\":1,\"batchSize\":2",
    ];

    const string Unknown = "unknown";

    static readonly Gen<string> Documents = Gen.Select(Gen.Int[0, Fragments.Length - 1].Array[0, 16], Gen.Int[0, 40]).Select((picks, broken) =>
    {
        var parts = picks.Select(pick => Fragments[pick]).DistinctBy(part => part[..part.IndexOf(':', StringComparison.Ordinal)]);
        return $"{{{string.Join(',', broken < Broken.Length ? parts.Append(Broken[broken]) : parts)}}}";
    });

    // Some are not mutated; most mutated ones are no longer JSON.
    static readonly Gen<(int Kind, int At, byte Value)[]> Mutations = Gen.Int[0, 3].SelectMany(n => n > 0
        ? Gen.Const(Array.Empty<(int, int, byte)>())
        : Gen.Select(Gen.Int[0, 3], Gen.Int[0, 1 << 20], Gen.Byte).Array[1, 3]);

    static byte[] Mutate(string document, (int Kind, int At, byte Value)[] mutations)
    {
        var bytes = Encoding.UTF8.GetBytes(document).ToList();
        foreach (var (kind, place, value) in mutations)
        {
            if (bytes.Count == 0) break;
            var at = place % bytes.Count;
            switch (kind)
            {
                case 0: bytes[at] = value; break;
                case 1: bytes.RemoveRange(at, Math.Min(1 + (value % 8), bytes.Count - at)); break;
                case 2: bytes.Insert(at, value); break;
                default: bytes.InsertRange(at, bytes.GetRange(at, Math.Min(1 + (value % 32), bytes.Count - at))); break;
            }
        }

        return [.. bytes];
    }

    [Fact]
    public async Task After_each_document_the_settings_are_valid_and_every_known_key_is_acknowledged()
    {
        await using var parts = await new SettingsFixture(inMemory: true).StartAsync();
        var (version, taken, refused) = (0L, 0, 0);
        var reported = new JsonObject();
        Gen.Select(Documents, Mutations).Sample(
            (text, mutations) =>
            {
                if (DocumentReader.Read(Mutate(text, mutations), out var problem) is not { } document)
                {
                    Assert.False(string.IsNullOrWhiteSpace(problem));
                    refused++;
                    return;
                }

                taken++;
                var parsed = parts.Store.OfferTwinAsync(document, ++version, CancellationToken.None).GetAwaiter().GetResult();
                CheckValid(parsed);
                CheckAcknowledged(parsed, document, reported);
            },
            iter: Count, threads: 1);
        Assert.InRange(taken, Count / 2, Count);
        Assert.True(refused > Count / 50, $"only {refused} documents were not valid JSON");
    }

    /// <summary>Checks that the settings in force would be accepted again as a document. URLs have only the parts that may be shown.</summary>
    static void CheckValid(ParsedSettings parsed)
    {
        var parser = SettingsFixture.NewParser();
        var inForce = new JsonObject(parsed.Verdicts
            .Where(verdict => verdict.Value is not null)
            .Select(verdict => KeyValuePair.Create(verdict.Key, JsonNode.Parse(Uncut(verdict.Value!.ToJsonString())))));
        var again = parser.Parse(inForce, []);
        Assert.All(again.Verdicts, verdict => Assert.True(verdict.Error is null, $"{verdict} is in force"));
        var endpoint = again.Settings.Forwarding.HttpEndpoint;
        if (endpoint is not null && endpoint.Host != Unknown) Assert.Equal(UrlText.Show(parsed.Settings.Forwarding.HttpEndpoint!), UrlText.Show(endpoint));
        Assert.Equal(parsed.Settings.Forwarding with { HttpEndpoint = endpoint }, again.Settings.Forwarding);
        Assert.Equal(parsed.Settings.Buffer, again.Settings.Buffer);
    }

    // If the text after the host may be a secret, only the scheme is shown: http://u//u:p@a/ becomes http://..
    static string Uncut(string shown) => shown.Replace("://..", $"://{Unknown}/", StringComparison.Ordinal);

    static void CheckAcknowledged(ParsedSettings parsed, JsonObject document, JsonObject reported)
    {
        SensorForwarder.EdgeHub.MergePatch.Apply(reported, TwinReport.Patch(parsed, reported));
        Assert.Null(EdgeSimulator.Twins.ReportedProperties.Objection(reported));
        foreach (var key in SettingsTable.All.Select(definition => definition.Key).Append(SettingsTable.SensorsKey))
        {
            var entry = reported[key]!.AsObject();
            var code = (int)entry["ac"]!;
            var isAsked = document[key] is not null;
            Assert.Equal(isAsked, code != 203);
            Assert.Equal(code == 400, entry.ContainsKey("ad"));
            if (code == 200) Assert.True(JsonNode.DeepEquals(entry["value"], Value(parsed, key)) || !entry.ContainsKey("value"), key);
        }

        Assert.Empty(TwinReport.Patch(parsed, reported));
    }

    static JsonNode? Value(ParsedSettings parsed, string key)
    {
        var value = parsed.Verdicts.Single(verdict => verdict.Key == key).Value;
        return value is null ? null : JsonNode.Parse(value.ToJsonString());
    }
}
