using System.Globalization;
using Microsoft.Playwright;

namespace SensorForwarder.BrowserTests;

/// <summary>The history on the page, while there is no network and readings wait in the buffer.</summary>
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
    public async Task A_keyboard_chooses_sensor_value_and_time_and_the_chart_and_a_table_show_it()
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
        // A row in whose time the sensor was not read, on a busy machine, says so.
        var cells = await page.Locator("#history-rows tr td:last-child").AllInnerTextsAsync();
        Assert.Contains(cells, cell => double.TryParse(cell, NumberStyles.Float, CultureInfo.InvariantCulture, out _));
        await page.GetByRole(AriaRole.Combobox, new() { NameRegex = new("^Sensor") }).WaitForAsync();
        await page.GetByRole(AriaRole.Group, new() { Name = "Time" }).WaitForAsync();
        Assert.Empty(watched.Complaints);
    }

    [Fact]
    public async Task The_chosen_value_comes_back_after_a_moment_in_which_the_sensor_has_none()
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
              // A page that opened before the first reading has the names from the buffer.
              view.names.clear();
              const failing = { sensors: latest.sensors.map((sensor) => ({ ...sensor, values: null })) };
              return [failing, latest].map((now) => { offerChoices(now); return byId('history-value').value; });
            }
            """));
    }

    [Fact]
    public async Task No_gap_is_drawn_where_not_everything_was_read_and_a_note_says_so()
    {
        await using var watched = await OpenInBlackoutAsync(1280, ColorScheme.Light);
        var page = watched.Page;
        await page.GetByRole(AriaRole.Button, new() { Name = "History of cellar" }).PressAsync("Enter");
        await UntilChartAsync(page, "Chart: cellar, temperature");
        await watched.UntilAsync("#history-summary", "°C to ");
        // Five points a minute apart, an hour without any, five points; read as a whole, and in part.
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
        Assert.Contains("no gaps in what was read. 0 drawn. There is so much that of each piece of the time only the beginning was read", told[1], StringComparison.Ordinal);
    }

    [Fact]
    public async Task Where_the_buffer_has_a_gap_the_page_shows_its_own_values_if_it_has_some()
    {
        await using var watched = await browser.OpenAsync(_world.Url);

        // Of an hour, in minutes. The buffer has a backlog that waits while what is new goes first.
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
        Assert.Equal("1-60,true", await TakeAsync([[10, 30]], [[0, 60]])); // before and behind the backlog
        Assert.Equal("0-60,true", await TakeAsync([[0, 20], [40, 60]], [[0, 60]])); // between two
        Assert.Equal("0-20 40-60,false", await TakeAsync([[0, 20], [40, 60]], [[0, 20], [40, 60]])); // it was not read
        Assert.Equal("0-20 30-60,true", await TakeAsync([[0, 20]], [[0, 20], [30, 60]]));
        Assert.Equal("5-30 31-60,true", await TakeAsync([[10, 30], [31, 60]], [[5, 30], [31.5, 60]])); // a short one is none less for them
        Assert.Equal("0-60,false", await TakeAsync([[0, 60]], [[0, 60]]));
        Assert.Equal("1-60,true", await TakeAsync([], [[0, 60]]));
    }

    [Theory]
    [InlineData(320, ColorScheme.Dark)]
    [InlineData(1280, ColorScheme.Light)]
    public async Task A_gap_shows_and_the_chart_fits_and_axe_finds_nothing(int width, ColorScheme scheme)
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
        // A busy machine may add a gap of its own.
        await page.Locator("#history-summary").Filter(new() { HasTextRegex = new(@"[1-9]\d* gaps?, the longest of ") }).WaitForAsync();
        await page.Locator("#chart").HoverAsync();
        Assert.Contains("°C", await watched.TextAsync("#history-at"), StringComparison.Ordinal);
        await watched.KeepAsync($"history-{width}-{scheme.ToString().ToLowerInvariant()}");
        await page.GetByText("The same as a table").ClickAsync();
        await watched.CheckAsync(width);
    }

    /// <summary>The settings come from the hub first.</summary>
    async Task<WatchedPage> OpenInBlackoutAsync(int width, ColorScheme scheme)
    {
        var watched = await browser.OpenAsync(_world.Url, width, 900, scheme, isTouched: width < 500);
        await watched.UntilAsync("#sensor-list", "cellar");
        await _world.FaultAsync("blackout", true);
        await watched.UntilAsync("#link-state", "No connection");
        // What is asked for all of the time is not asked for again at once: a few readings of each sensor have to be there.
        await watched.Page.Locator("#depth").Filter(new() { HasTextRegex = new(@"^\d\d") }).WaitForAsync();
        return watched;
    }

    static Task UntilChartAsync(IPage page, string name) =>
        page.GetByRole(AriaRole.Img, new() { NameRegex = new($"^{name}") }).WaitForAsync();
}
