using System.Globalization;

namespace SensorForwarder.ContainerTests;

/// <summary>
/// The module's image, built once a run by its Dockerfile, without BuildKit as the old tools do it. Only the base images are
/// others than in the field.
/// </summary>
public sealed class ModuleImage : IAsyncLifetime
{
    public const string Name = "sensorforwarder-tests/module";

    /// <summary>Set by tests/run, which has set everything up: a test that can't run is a failure there.</summary>
    static bool Required => Environment.GetEnvironmentVariable("TEST_CONTAINERS_REQUIRED") == "1";

    string? _missing;

    public async ValueTask InitializeAsync()
    {
        _missing = await Docker.MissingAsync();
        if (_missing is null) await BuildAsync("amd64", Name);
    }

    /// <summary>Skips the test that calls, with the reason, where there is no engine.</summary>
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

    /// <summary>What the image adds to its base.</summary>
    public static async Task<double> MegabytesAsync(string name)
    {
        return (await SizeAsync(name) - await SizeAsync(Docker.RuntimeImage)) / 1e6;

        static async Task<double> SizeAsync(string image) =>
            double.Parse(await Docker.RunAsync("image", "inspect", "--format", "{{.Size}}", image), CultureInfo.InvariantCulture);
    }

    public ValueTask DisposeAsync() => ValueTask.CompletedTask;
}
