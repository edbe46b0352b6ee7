using System.Text.Json;
using SensorForwarder.Tests.Configuration;

namespace SensorForwarder.Tests.Conventions;

/// <summary>Every shipped package is named with its licence in THIRD-PARTY-NOTICES, which is published with the program.</summary>
public sealed class NoticesTests
{
    // Used for the build only, not shipped.
    static readonly string[] Tools = ["Microsoft.CodeAnalysis.BannedApiAnalyzers", "Microsoft.DotNet.ILCompiler", "Microsoft.NET.ILLink.Tasks"];

    [Theory]
    [InlineData("packages.lock.json")]
    [InlineData("packages.linux-arm.lock.json")]
    public void Every_shipped_package_is_named_in_the_third_party_notices(string lockFile)
    {
        var notices = WrittenFile.Read("modules/SensorForwarder/THIRD-PARTY-NOTICES");
        using var json = JsonDocument.Parse(WrittenFile.Read($"modules/SensorForwarder/{lockFile}"));
        var shipped = json.RootElement.GetProperty("dependencies").EnumerateObject()
            .SelectMany(framework => framework.Value.EnumerateObject()).Select(package => package.Name)
            .Where(name => !Tools.Any(tool => name.EndsWith(tool, StringComparison.Ordinal))
                && !name.StartsWith("runtime.", StringComparison.Ordinal)
                && !name.StartsWith("Microsoft.Extensions.", StringComparison.Ordinal)).Distinct();
        Assert.All(shipped, name => Assert.Contains(name, notices, StringComparison.Ordinal));
        Assert.Contains("Apache License", notices, StringComparison.Ordinal);
        Assert.Contains(
            "<None Include=\"THIRD-PARTY-NOTICES\" CopyToPublishDirectory=\"PreserveNewest\" />",
            WrittenFile.Read("modules/SensorForwarder/SensorForwarder.csproj"), StringComparison.Ordinal);
    }
}
