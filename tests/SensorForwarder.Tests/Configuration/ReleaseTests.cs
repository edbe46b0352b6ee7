using System.Text.Json.Nodes;

namespace SensorForwarder.Tests.Configuration;

/// <summary>The settings files of earlier versions, in <c>Releases/</c>, are accepted as they are. Each has the settings that its version
/// had, and a sensor of every kind. A release adds a file; a file is never changed.</summary>
public sealed class ReleaseTests
{
    const string Folder = "tests/SensorForwarder.Tests/Configuration/Releases";

    public static TheoryData<string> Files =>
        new(Directory.GetFiles(Path.Combine(WrittenFile.Root, Folder), "*.json").Select(path => Path.GetFileName(path)!).Order(StringComparer.Ordinal));

    [Theory]
    [MemberData(nameof(Files))]
    public void Every_setting_of_an_earlier_release_is_accepted(string file)
    {
        var document = JsonNode.Parse(WrittenFile.Read($"{Folder}/{file}"))!.AsObject();
        var parsed = SettingsFixture.NewParser().Parse(document, []);
        Assert.Empty(parsed.UnknownKeys);
        Assert.All(parsed.Verdicts, verdict => Assert.Null(verdict.Error));
    }
}
