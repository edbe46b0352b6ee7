using Microsoft.Playwright;

namespace SensorForwarder.BrowserTests;

/// <summary>Why readings wait though nothing is broken here, as somebody on site sees it.</summary>
public sealed class LinkTests(Browser browser)
{
    static JsonObject Settings(int dailyMessageLimit) => new()
    {
        ["batchSize"] = 5,
        ["uploadIntervalSeconds"] = 1,
        ["commitIntervalMs"] = 100,
        ["drainOrder"] = "liveFirst",
        ["dailyMessageLimit"] = dailyMessageLimit,
        ["sensors"] = new JsonObject
        {
            ["attic"] = new JsonObject { ["kind"] = "simulated", ["intervalSeconds"] = 0.2 },
            ["cellar"] = new JsonObject { ["kind"] = "simulated", ["intervalSeconds"] = 0.2 },
        },
    };

    [Fact]
    public async Task The_messages_of_the_day_and_until_when_readings_wait_for_them_are_told_in_words()
    {
        await using var world = await World.StartAsync(Settings(dailyMessageLimit: 10));
        await using var watched = await browser.OpenAsync(world.Url, 320, 900, ColorScheme.Dark, isTouched: true);
        await watched.UntilAsync("#link-held", "held back until");
        Assert.Matches(@"messages today\s+\d+ of 10", await watched.TextAsync("#link"));
        await watched.UntilAsync("#banner-title", "The limit of the day holds readings back");

        // Both lanes have a column.
        var lanes = watched.Page.GetByRole(AriaRole.Table, new() { Name = "Lanes" });
        Assert.Equal(["new", "backlog"], await lanes.GetByRole(AriaRole.Columnheader).AllInnerTextsAsync());
        await lanes.GetByRole(AriaRole.Row, new() { NameRegex = new(@"^last accepted .* s ago") }).WaitForAsync();
        await watched.KeepAsync("quota-320-dark");
        await watched.CheckAsync(320);
    }

    [Fact]
    public async Task An_edgeHub_that_has_no_cloud_is_told_with_what_waits_in_it()
    {
        await using var world = await World.StartAsync(Settings(dailyMessageLimit: 0));
        await using var watched = await browser.OpenAsync(world.Url);
        await watched.UntilAsync("#link-state", "Connected");
        await world.FaultAsync("upstreamOffline", true);
        await watched.UntilAsync("#banner-title", "edgeHub does not get through to the cloud");
        await watched.UntilAsync("#link-held", "edgeHub has got nothing to the cloud for ");
        Assert.Matches(@"waiting in edgeHub\s+[1-9]", await watched.TextAsync("#link"));
        await watched.KeepAsync("upstream-1280-light");
        await watched.CheckAsync(1280);
        await world.FaultAsync("upstreamOffline", false);
        await watched.Page.Locator("#link-held:empty").WaitForAsync(new() { State = WaitForSelectorState.Attached });
    }
}
