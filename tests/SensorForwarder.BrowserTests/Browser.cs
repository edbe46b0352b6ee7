using System.Reflection;
using Microsoft.Playwright;
using SensorForwarder.BrowserTests;
using Xunit.Sdk;
using Xunit.v3;

[assembly: AssemblyFixture(typeof(Browser))]
// Each test starts a simulator, a module and a browser, too many to run in parallel on two cores.
[assembly: Parallelization(Mode = ParallelMode.None)]

namespace SensorForwarder.BrowserTests;

/// <summary>The distribution's Chromium, controlled by Playwright. Nothing is downloaded.</summary>
public sealed class Browser : IAsyncLifetime
{
    static readonly string[] Paths = ["/usr/bin/chromium", "/usr/bin/chromium-browser", "/usr/bin/google-chrome"];

    static string? Path { get; } = Environment.GetEnvironmentVariable("CHROMIUM") ?? Paths.FirstOrDefault(File.Exists);

    static string? Missing { get; } = Environment.GetEnvironmentVariable("TEST_TIER") is null or "quick"
        ? "the tier quick has no browser tests; use ./tests/run or TEST_TIER=full"
        : Path is null ? "Chromium not found; run ./tests/run to install it, or set CHROMIUM to its path" : null;

    IPlaywright? _playwright;
    IBrowser? _browser;

    /// <summary>The folder for screenshots.</summary>
    public static string Artifacts { get; } = Directory.CreateDirectory(
        System.IO.Path.Combine(Metadata("RepositoryRoot"), "artifacts", "screenshots")).FullName;

    public async ValueTask InitializeAsync()
    {
        if (Missing is not null) return;
        _playwright = await Playwright.CreateAsync();
        _browser = await _playwright.Chromium.LaunchAsync(new()
        {
            ExecutablePath = Path,
            // The sandbox does not work for root, and containers have little shared memory.
            Args = ["--no-sandbox", "--disable-dev-shm-usage"],
        });
    }

    /// <summary>Opens a page in a new browser context, whose messages and requests are recorded.</summary>
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

    /// <summary>Skips the calling test in the tier quick and without Chromium. In tests/run, which installs Chromium,
    /// the test fails instead.</summary>
    public static void Require()
    {
        if (Missing is null) return;
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
