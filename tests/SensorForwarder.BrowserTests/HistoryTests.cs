using System.Globalization;
using Microsoft.Playwright;

namespace SensorForwarder.BrowserTests;

/// <summary>The history on the page, without network, so that the readings wait in the buffer.</summary>
public sealed class HistoryTests(Browser browser) : IAsyncLifetime
{
    World _world = null!;

    static JsonObject Settings => new()
    {
        ["commitIntervalMs"] = 200,
        ["sensors"] = new JsonObject
        {
            ["attic"] = new JsonObject { ["kind"] = "simulated", ["intervalSeconds"] = 0.5, ["seed"] = 3, ["label"] = "Attic" },
            ["cellar"] = new JsonObject { ["kind"] = "simulated", ["intervalSeconds"] = 0.5, ["seed"] = 9 },
            ["boiler"] = new JsonObject { ["kind"] = "bme280", ["bus"] = 1, ["address"] = "0x76" },
        },
    };

    public async ValueTask InitializeAsync() => _world = await World.StartAsync(Settings);

    public async ValueTask DisposeAsync()
    {
        if (_world is not null) await _world.DisposeAsync();
    }

    [Fact]
    public async Task Sensor_value_and_time_can_be_selected_by_keyboard_for_chart_and_table()
    {
        await using var watched = await OpenInBlackoutAsync(1280, ColorScheme.Light);
        var page = watched.Page;
        await page.GetByRole(AriaRole.Button, new() { Name = "History of cellar" }).PressAsync("Enter");
        await UntilChartAsync(page, "Chart: cellar, temperature");
        await watched.UntilAsync("#history-summary", "°C to ");
        Assert.Equal("h-history", await page.EvaluateAsync<string>("document.activeElement.id"));

        await page.Locator("#history-value").FocusAsync();
        await page.Keyboard.TypeAsync("Hum");
        await UntilChartAsync(page, "Chart: cellar, humidity");
        await page.Locator("#history-sensor").FocusAsync();
        await page.Keyboard.TypeAsync("Att");
        await UntilChartAsync(page, "Chart: Attic, humidity");
        await page.GetByLabel("Hour", new() { Exact = true }).FocusAsync();
        await page.Keyboard.PressAsync("ArrowRight");
        await page.Keyboard.PressAsync("ArrowRight");
        await page.Keyboard.PressAsync("ArrowRight");
        Assert.True(await page.GetByLabel("All", new() { Exact = true }).IsCheckedAsync());
        await page.Locator("#chart .line").First.WaitForAsync();
        await watched.UntilAsync("#history-summary", "% to ");
        Assert.Equal("polite", await page.Locator("#history-summary").GetAttributeAsync("aria-live"));

        await page.GetByText("The same as a table").PressAsync("Enter");
        Assert.Equal(12, await page.Locator("#history-rows tr").CountAsync());
        // On a busy machine, some rows may have no readings, so only one number is required.
        var cells = await page.Locator("#history-rows tr td:last-child").AllInnerTextsAsync();
        Assert.Contains(cells, cell => double.TryParse(cell, NumberStyles.Float, CultureInfo.InvariantCulture, out _));
        await page.GetByRole(AriaRole.Combobox, new() { NameRegex = new("^Sensor") }).WaitForAsync();
        await page.GetByRole(AriaRole.Group, new() { Name = "Time" }).WaitForAsync();
        Assert.Empty(watched.Complaints);
    }

    [Fact]
    public async Task The_selected_value_is_restored_after_the_sensor_had_no_values()
    {
        await using var watched = await OpenInBlackoutAsync(1280, ColorScheme.Light);
        var page = watched.Page;
        await page.GetByRole(AriaRole.Button, new() { Name = "History of cellar" }).PressAsync("Enter");
        await UntilChartAsync(page, "Chart: cellar, temperature");
        await page.Locator("#history-value").FocusAsync();
        await page.Keyboard.TypeAsync("Hum");
        await UntilChartAsync(page, "Chart: cellar, humidity");
        Assert.Equal(["", "humidity"], await page.EvaluateAsync<string[]>("""
            () => {
              // As on a page opened before the first reading, which knows the names only from the buffer.
              view.names.clear();
              const failing = { ...latest, sensors: latest.sensors.map((sensor) => ({ ...sensor, values: null })) };
              return [failing, latest].map((now) => { offerChoices(now); return byId('history-value').value; });
            }
            """));
    }

    [Fact]
    public async Task Where_readings_were_skipped_no_gap_is_drawn_and_a_note_explains_why()
    {
        await using var watched = await OpenInBlackoutAsync(1280, ColorScheme.Light);
        var page = watched.Page;
        await page.GetByRole(AriaRole.Button, new() { Name = "History of cellar" }).PressAsync("Enter");
        await UntilChartAsync(page, "Chart: cellar, temperature");
        await watched.UntilAsync("#history-summary", "°C to ");
        // Five points a minute apart, an hour without points, five points; read completely and partly.
        var told = await page.EvaluateAsync<string[]>("""
            () => [false, true].map((isPartlyRead) => {
              const start = Date.parse('2020-01-01T10:00:00Z');
              const minutes = [0, 1, 2, 3, 4, 64, 65, 66, 67, 68];
              const points = minutes.map((minute) => ({ time: new Date(start + minute * 6e4).toISOString(), values: { temperature: { min: 1, max: 3, last: 2 } } }));
              if (isPartlyRead) points[5].unreadBefore = true;
              view.answer = { from: points[0].time, to: points[9].time, readings: 10, isPartlyRead, points };
              takeSeries(latest.sensors.find((sensor) => sensor.name === 'cellar'), 'temperature');
              describeHistory(false);
              drawHistory();
              return `${byId('history-summary').textContent} ${document.querySelectorAll('#chart .gap').length} drawn. ${byId('history-note').textContent}`;
            })
            """);
        Assert.EndsWith("1 gap, the longest of 1 h 0 min. 1 drawn. ", told[0], StringComparison.Ordinal);
        Assert.Contains("no gaps in what was read. 0 drawn. There are so many readings that only the beginning of each interval was read", told[1], StringComparison.Ordinal);
    }

    [Fact]
    public async Task The_page_fills_gaps_of_the_buffer_with_its_own_values()
    {
        await using var watched = await browser.OpenAsync(_world.Url);

        // Pieces of one hour, in minutes. The buffer holds a backlog while new readings are sent first.
        const string Take = """
            ([buffer, own]) => {
              const to = 36e5;
              const values = (last) => ({ temperature: { min: last, max: last, last } });
              view.answer = { from: 0, to: new Date(to).toISOString(), readings: 1,
                points: buffer.flatMap(([start, end]) => Array.from({ length: Math.round((end - start) * 5) + 1 }, (_, i) => ({ time: new Date(start * 6e4 + i * 12e3).toISOString(), values: values(1) }))) };
              view.answer.from = new Date(0).toISOString();
              hour = new Map([['x temperature', Array.from({ length: 120 }, (_, i) => own.some(([start, end]) => (i + 1) / 2 >= start && (i + 1) / 2 <= end) ? 2 : null)]]);
              hourAt = to;
              takeSeries({ name: 'x' }, 'temperature');
              const piece = (points) => `${Math.round(points[0].time / 6e4)}-${Math.round(points[points.length - 1].time / 6e4)}`;
              const result = [view.series.pieces.map(piece).join(' '), view.series.points.filter((p) => p.isOwn).length > 0];
              view.series = null;
              return result.join();
            }
            """;
        Task<string> TakeAsync(double[][] buffer, double[][] own) => watched.Page.EvaluateAsync<string>(Take, new[] { buffer, own });
        Assert.Equal("1-60,true", await TakeAsync([[10, 30]], [[0, 60]])); // before and after the backlog
        Assert.Equal("0-60,true", await TakeAsync([[0, 20], [40, 60]], [[0, 60]])); // between two backlogs
        Assert.Equal("0-20 40-60,false", await TakeAsync([[0, 20], [40, 60]], [[0, 20], [40, 60]])); // the sensor was not read
        Assert.Equal("0-20 30-60,true", await TakeAsync([[0, 20]], [[0, 20], [30, 60]]));
        Assert.Equal("5-30 31-60,true", await TakeAsync([[10, 30], [31, 60]], [[5, 30], [31.5, 60]])); // a short gap without own values stays a gap
        Assert.Equal("0-60,false", await TakeAsync([[0, 60]], [[0, 60]]));
        Assert.Equal("1-60,true", await TakeAsync([], [[0, 60]]));
    }

    [Theory]
    [InlineData(320, ColorScheme.Dark)]
    [InlineData(1280, ColorScheme.Light)]
    public async Task A_gap_is_shown_the_chart_fits_and_axe_finds_no_violation(int width, ColorScheme scheme)
    {
        await using (var before = await OpenInBlackoutAsync(width, scheme)) await before.Page.WaitForTimeoutAsync(4000);
        await _world.StopModuleAsync();
        await Task.Delay(TimeSpan.FromSeconds(4), TimeProvider.System, TestContext.Current.CancellationToken);
        await _world.StartModuleAsync();
        await using var watched = await browser.OpenAsync(_world.Url, width, 900, scheme, isTouched: width < 500);
        var page = watched.Page;
        await page.WaitForTimeoutAsync(4000);
        await page.GetByRole(AriaRole.Button, new() { Name = "History of cellar" }).ClickAsync();
        await page.GetByText("All", new() { Exact = true }).ClickAsync();
        await page.Locator("#chart .gap").First.WaitForAsync();
        // On a busy machine there may be further gaps.
        await page.Locator("#history-summary").Filter(new() { HasTextRegex = new(@"[1-9]\d* gaps?, the longest of ") }).WaitForAsync();
        await page.Locator("#chart").HoverAsync();
        Assert.Contains("°C", await watched.TextAsync("#history-at"), StringComparison.Ordinal);
        await watched.KeepAsync($"history-{width}-{scheme.ToString().ToLowerInvariant()}");
        await page.GetByText("The same as a table").ClickAsync();
        await watched.CheckAsync(width);
    }

    /// <summary>Opens the page, and starts the blackout once the settings have arrived from the hub.</summary>
    async Task<WatchedPage> OpenInBlackoutAsync(int width, ColorScheme scheme)
    {
        var watched = await browser.OpenAsync(_world.Url, width, 900, scheme, isTouched: width < 500);
        await watched.UntilAsync("#sensor-list", "cellar");
        await _world.FaultAsync("blackout", true);
        await watched.UntilAsync("#link-state", "No connection");
        // The history of all time is cached for a while, so wait until each sensor has a few readings.
        await watched.Page.Locator("#depth").Filter(new() { HasTextRegex = new(@"^\d\d") }).WaitForAsync();
        return watched;
    }

    static Task UntilChartAsync(IPage page, string name) =>
        page.GetByRole(AriaRole.Img, new() { NameRegex = new($"^{name}") }).WaitForAsync();
}
