using Microsoft.Playwright;

namespace SensorForwarder.BrowserTests;

/// <summary>Takes the README's screenshot of the page, with <c>WRITE_FILES=1</c>. pngquant reduces it to a third of the size.</summary>
public sealed class PictureTests(Browser browser)
{
    [Fact(Explicit = true)]
    public async Task The_screenshot_in_the_README_is_regenerated()
    {
        Assert.SkipUnless(Environment.GetEnvironmentVariable("WRITE_FILES") == "1", "it is only taken with WRITE_FILES=1");
        await using var world = await World.StartAsync(new()
        {
            ["uploadIntervalSeconds"] = 1,
            ["commitIntervalMs"] = 200,
            ["sensors"] = new JsonObject
            {
                ["attic"] = Room("Attic, north side"),
                ["cellar"] = Room("Cellar"),
                ["freezer"] = Room("Freezer 2", offset: -38, new JsonObject { ["value"] = "temperature", ["above"] = -18, ["severity"] = "critical" }),
            },
        });
        await using var watched = await browser.OpenAsync(world.Url, 1040, 1240);
        await watched.UntilAsync("#link-state", "Connected");
        await watched.UntilAsync("#sensor-list .tag", "alarm");
        await world.FaultAsync("blackout", true);
        await watched.UntilAsync("#link-state", "No connection");
        await watched.Page.GetByRole(AriaRole.Button, new() { Name = "History of Cellar" }).ClickAsync();
        await watched.Page.GetByText("All", new() { Exact = true }).ClickAsync();
        await watched.Page.WaitForFunctionAsync("() => Number(document.querySelector('#depth').textContent.replace(',', '')) > 900", null, new() { Timeout = 180_000 });
        await watched.Page.EvaluateAsync("scrollTo(0, 0)");
        await watched.KeepAsync("readme", isWhole: false);
        File.Copy(Path.Combine(Browser.Artifacts, "readme.png"), Path.Combine(Browser.Metadata("RepositoryRoot"), "docs", "dashboard.png"), overwrite: true);
    }

    static JsonObject Room(string label, double offset = 0, JsonObject? alarm = null) => new()
    {
        ["kind"] = "simulated",
        ["intervalSeconds"] = 0.25,
        ["label"] = label,
        ["offset"] = new JsonObject { ["temperature"] = offset },
        ["alarms"] = alarm is null ? [] : new JsonArray(alarm),
    };
}
