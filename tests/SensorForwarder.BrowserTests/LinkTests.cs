using Microsoft.Playwright;

namespace SensorForwarder.BrowserTests;

/// <summary>How the page explains why readings are held back although the module itself works.</summary>
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
    public async Task The_daily_message_limit_and_the_end_of_the_wait_are_described_in_words()
    {
        await using var world = await World.StartAsync(Settings(dailyMessageLimit: 10));
        await using var watched = await browser.OpenAsync(world.Url, 320, 900, ColorScheme.Dark, isTouched: true);
        await watched.UntilAsync("#link-held", "held back until");
        Assert.Matches(@"messages today\s+\d+ of 10", await watched.TextAsync("#link"));
        await watched.UntilAsync("#banner-title", "The daily limit holds readings back");

        // The table has a column for each lane.
        var lanes = watched.Page.GetByRole(AriaRole.Table, new() { Name = "Lanes" });
        Assert.Equal(["new", "backlog"], await lanes.GetByRole(AriaRole.Columnheader).AllInnerTextsAsync());
        await lanes.GetByRole(AriaRole.Row, new() { NameRegex = new(@"^last accepted .* s ago") }).WaitForAsync();
        await watched.KeepAsync("quota-320-dark");
        await watched.CheckAsync(320);
    }

    [Fact]
    public async Task An_edgeHub_without_cloud_is_shown_with_its_queued_messages()
    {
        await using var world = await World.StartAsync(Settings(dailyMessageLimit: 0));
        await using var watched = await browser.OpenAsync(world.Url);
        await watched.UntilAsync("#link-state", "Connected");
        await world.FaultAsync("upstreamOffline", true);
        await watched.UntilAsync("#banner-title", "edgeHub does not reach the cloud");
        await watched.UntilAsync("#link-held", "edgeHub has delivered nothing to the cloud for ");
        Assert.Matches(@"waiting in edgeHub\s+[1-9]", await watched.TextAsync("#link"));
        Assert.Matches(@"waiting here\s+\d[\s\S]*handed over to edgeHub\s+[1-9][\s\S]*delivered to the cloud\s+\d", await watched.TextAsync("#custody"));
        await watched.KeepAsync("upstream-1280-light");
        await watched.CheckAsync(1280);
        await world.FaultAsync("upstreamOffline", false);
        await watched.Page.Locator("#link-held:empty").WaitForAsync(new() { State = WaitForSelectorState.Attached });
    }
}
