using System.Text.RegularExpressions;

namespace Deployment.Tests;

/// <summary>Without BuildKit, Dockerfiles cannot share stages, so they repeat them. Checks that they differ only where
/// they may.</summary>
public sealed partial class DockerfileTests
{
    const string Module = "modules/SensorForwarder/";

    static JsonNode Image { get; } = Repository.ReadJson(Module + "module.json")["image"]!;

    [Theory, InlineData(""), InlineData(".debug")]
    public void The_Dockerfiles_of_all_platforms_differ_only_in_platform_values(string kind)
    {
        string[] platforms = ["amd64", "arm64v8", "arm32v7"];
        var texts = platforms.Select(platform => Different().Replace(Repository.Read($"{Module}Dockerfile.{platform}{kind}"), "")).ToList();
        Assert.Equal(texts[0], texts[1]);
        Assert.Equal(texts[0], texts[2]);
    }

    [Fact]
    public void Each_platform_of_the_module_has_a_Dockerfile()
    {
        var files = Image["tag"]!["platforms"]!.AsObject().Select(p => Path.GetFileName((string)p.Value!)).Order();
        var there = Directory.GetFiles(Path.Combine(Repository.Root, Module), "Dockerfile.*").Select(Path.GetFileName).Order();
        Assert.Equal(there, files);
        Assert.All(Image["tag"]!["platforms"]!.AsObject(), p => Assert.Equal($"./Dockerfile.{p.Key}", (string)p.Value!));
    }

    [Fact]
    public void The_build_context_is_the_repository_root() =>
        Assert.Equal(Repository.Root, Path.GetFullPath(Path.Combine(Repository.Root, Module, (string)Image["contextPath"]!)).TrimEnd('/'));

    [Fact]
    public void The_image_repository_is_in_lower_case() =>
        Assert.Equal("sensorforwarder", ((string)Image["repository"]!).Split('/')[^1]);

    [Fact]
    public void The_image_has_the_version_of_the_build() =>
        Assert.Contains($"<Version>{Image["tag"]!["version"]}</Version>", Repository.Read("Directory.Build.props"), StringComparison.Ordinal);

    [Theory, InlineData("amd64"), InlineData("arm64v8"), InlineData("arm32v7"), InlineData("amd64.debug")]
    public void An_image_runs_without_root_and_receives_signals_directly(string platform)
    {
        var lines = Repository.Read($"{Module}Dockerfile.{platform}").Split('\n');
        Assert.Contains("USER 1654", lines);
        Assert.Contains("VOLUME /data", lines);
        Assert.Contains("EXPOSE 9600", lines);
        var entryPoint = Assert.Single(lines, line => line.StartsWith("ENTRYPOINT [\"", StringComparison.Ordinal));

        // The image has no shell, so the health check runs the module's own binary.
        var check = entryPoint.Replace("ENTRYPOINT [", "CMD [", StringComparison.Ordinal).Replace("]", ", \"--health\"]", StringComparison.Ordinal);
        Assert.Single(lines, line => line.StartsWith("HEALTHCHECK ", StringComparison.Ordinal) && line.EndsWith(check, StringComparison.Ordinal));
    }

    [GeneratedRegex(@"^(# docker build.*|ARG (SDK_IMAGE|RUNTIME_IMAGE|RUNTIME_PLATFORM|RUNTIME_IDENTIFIER)=.*|HEALTHCHECK .*|ENTRYPOINT .*)\n", RegexOptions.Multiline)]
    private static partial Regex Different();
}
