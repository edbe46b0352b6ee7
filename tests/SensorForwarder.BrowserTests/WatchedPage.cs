using Deque.AxeCore.Playwright;
using Microsoft.Playwright;

namespace SensorForwarder.BrowserTests;

/// <summary>The module's page in a browser. Records console messages and requests.</summary>
public sealed class WatchedPage : IAsyncDisposable
{
    readonly IBrowserContext _context;
    readonly List<string> _complaints = [];
    readonly List<string> _requests = [];

    WatchedPage(IBrowserContext context, IPage page)
    {
        (_context, Page) = (context, page);
        page.Console += (_, message) =>
        {
            if (message.Type is "error" or "warning") Add(_complaints, message.Text);
        };
        page.PageError += (_, error) => Add(_complaints, error);
        page.Request += (_, request) => Add(_requests, request.Url);
    }

    public IPage Page { get; }

    /// <summary>Console errors and warnings, and unhandled exceptions.</summary>
    public IReadOnlyList<string> Complaints => Copy(_complaints);

    /// <summary>The URLs of all requests.</summary>
    public IReadOnlyList<string> Requests => Copy(_requests);

    public static async Task<WatchedPage> OpenAsync(IBrowserContext context, Uri url)
    {
        var watched = new WatchedPage(context, await context.NewPageAsync());
        await watched.Page.GotoAsync(url.ToString());
        await watched.Page.Locator("#live[data-state=good]").WaitForAsync();
        await watched.Page.Locator("#settings tr").First.WaitForAsync();
        return watched;
    }

    /// <summary>Waits until an element contains the text.</summary>
    public async Task UntilAsync(string selector, string text) =>
        await Page.Locator(selector).Filter(new() { HasText = text }).First.WaitForAsync();

    public Task<string> TextAsync(string selector) => Page.Locator(selector).InnerTextAsync();

    /// <summary>Saves a screenshot.</summary>
    public Task KeepAsync(string name, bool isWhole = true) =>
        Page.ScreenshotAsync(new() { Path = Path.Combine(Browser.Artifacts, $"{name}.png"), FullPage = isWhole });

    /// <summary>Asserts that the page fits the window's width, that axe finds no violation, and that there are no
    /// console errors or warnings.</summary>
    public async Task CheckAsync(int width)
    {
        Assert.Equal(width, await Page.EvaluateAsync<int>("document.documentElement.scrollWidth"));
        var result = await Page.RunAxe();
        Assert.True(result.Violations.Length == 0, string.Join('\n', result.Violations.Select(violation =>
            $"{violation.Id}: {violation.Help}: {string.Join(' ', violation.Nodes.Take(3).Select(node => node.Html))}")));
        Assert.Empty(Complaints);
    }

    public async ValueTask DisposeAsync() => await _context.DisposeAsync();

    static void Add(List<string> list, string text)
    {
        lock (list) list.Add(text);
    }

    static List<string> Copy(List<string> list)
    {
        lock (list) return [.. list];
    }
}
