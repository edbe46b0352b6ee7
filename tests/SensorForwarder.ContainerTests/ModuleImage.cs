using System.Globalization;

namespace SensorForwarder.ContainerTests;

/// <summary>
/// The module's image, built once per run from its Dockerfile, without BuildKit, as older tools build it. Only the base
/// images differ from those in production.
/// </summary>
public sealed class ModuleImage : IAsyncLifetime
{
    public const string Name = "sensorforwarder-tests/module";

    /// <summary>Set by tests/run, which sets up Docker: a test that cannot run fails instead of being
    /// skipped.</summary>
    static bool Required => Environment.GetEnvironmentVariable("TEST_CONTAINERS_REQUIRED") == "1";

    string? _missing;

    public async ValueTask InitializeAsync()
    {
        _missing = Environment.GetEnvironmentVariable("TEST_TIER") is null or "quick"
            ? "the tier quick has no container tests; use ./tests/run or TEST_TIER=full"
            : await Docker.MissingAsync();
        if (_missing is null) await BuildAsync("amd64", Name);
    }

    /// <summary>Skips the calling test, with the reason, in the tier quick and without a Docker engine.</summary>
    public void Require()
    {
        if (_missing is null) return;
        Assert.False(Required, _missing);
        Assert.Skip(_missing);
    }

    public static async Task BuildAsync(string platform, string name, params string[] options)
    {
        Environment.SetEnvironmentVariable("DOCKER_BUILDKIT", "0");
        await Docker.RunAsync([
            "build", "--quiet", "--network", "host", "-f", $"{Docker.Root}/modules/SensorForwarder/Dockerfile.{platform}", "-t", name,
            "--build-arg", $"SDK_IMAGE={Docker.SdkImage}", "--build-arg", $"RUNTIME_IMAGE={Docker.RuntimeImage}", .. options, Docker.Root,
        ]);
    }

    /// <summary>The image's size without its base image.</summary>
    public static async Task<double> MegabytesAsync(string name)
    {
        return (await SizeAsync(name) - await SizeAsync(Docker.RuntimeImage)) / 1e6;

        static async Task<double> SizeAsync(string image) =>
            double.Parse(await Docker.RunAsync("image", "inspect", "--format", "{{.Size}}", image), CultureInfo.InvariantCulture);
    }

    public ValueTask DisposeAsync() => ValueTask.CompletedTask;
}
