using System.Reflection;
using Microsoft.Playwright;
using SensorForwarder.BrowserTests;
using Xunit.Sdk;
using Xunit.v3;

[assembly: AssemblyFixture(typeof(Browser))]
// Each test has a simulator, a module and a browser, and the machine of a developer two cores.
[assembly: Parallelization(Mode = ParallelMode.None)]

namespace SensorForwarder.BrowserTests;

/// <summary>The distribution's Chromium, driven by Playwright; nothing is downloaded.</summary>
public sealed class Browser : IAsyncLifetime
{
    static readonly string[] Paths = ["/usr/bin/chromium", "/usr/bin/chromium-browser", "/usr/bin/google-chrome"];

    static string? Path { get; } = Environment.GetEnvironmentVariable("CHROMIUM") ?? Paths.FirstOrDefault(File.Exists);

    IPlaywright? _playwright;
    IBrowser? _browser;

    /// <summary>Where pictures are kept.</summary>
    public static string Artifacts { get; } = Directory.CreateDirectory(
        System.IO.Path.Combine(Metadata("RepositoryRoot"), "artifacts", "screenshots")).FullName;

    public async ValueTask InitializeAsync()
    {
        if (Path is null) return;
        _playwright = await Playwright.CreateAsync();
        _browser = await _playwright.Chromium.LaunchAsync(new()
        {
            ExecutablePath = Path,
            // Root has no sandbox, and a container no shared memory to speak of.
            Args = ["--no-sandbox", "--disable-dev-shm-usage"],
        });
    }

    /// <summary>A page of its own, whose messages and requests are kept.</summary>
    public async Task<WatchedPage> OpenAsync(Uri url, int width = 1280, int height = 900, ColorScheme scheme = ColorScheme.Light, bool isTouched = false)
    {
        Require();
        var context = await _browser!.NewContextAsync(new()
        {
            ViewportSize = new() { Width = width, Height = height },
            ColorScheme = scheme,
            HasTouch = isTouched,
            Locale = "en-GB",
            TimezoneId = "UTC",
        });
        context.SetDefaultTimeout(60_000);
        return await WatchedPage.OpenAsync(context, url);
    }

    /// <summary>Skips the test that calls where there is no Chromium; where tests/run has set everything up that is a failure.</summary>
    public static void Require()
    {
        if (Path is not null) return;
        const string Missing = "no Chromium; ./tests/run installs Debian's, or set CHROMIUM to the path of one";
        Assert.False(Environment.GetEnvironmentVariable("TEST_BROWSER_REQUIRED") == "1", Missing);
        Assert.Skip(Missing);
    }

    public async ValueTask DisposeAsync()
    {
        if (_browser is not null) await _browser.DisposeAsync();
        _playwright?.Dispose();
    }

    public static string Metadata(string key) =>
        Assembly.GetExecutingAssembly().GetCustomAttributes<AssemblyMetadataAttribute>().Single(a => a.Key == key).Value!;
}
