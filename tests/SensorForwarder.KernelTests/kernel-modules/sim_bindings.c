// SPDX-License-Identifier: GPL-2.0
/*
 * The chips that the module reads through Iot.Device.Bindings, with a measurement in their registers: I2C adapters 2
 * and 3 (some chips have the same address) and SPI controller 0. The values are those of BoundChipTests.cs. Chips keep
 * what is written to their configuration, which the module reads back.
 */
#include <linux/crc8.h>
#include <linux/i2c.h>
#include <linux/module.h>
#include <linux/platform_device.h>
#include <linux/spi/spi.h>

#define REGISTERS 0x800

struct chip {
	int bus;
	u16 address;
	int register_bytes;  /* length of a register's number */
	u16 register_mask;   /* its significant bits */
	int (*write)(struct chip *chip, const u8 *bytes, int length); /* NULL: registers */
	int (*read)(struct chip *chip, u8 *bytes, int length);
	const u8 *values;    /* register (two bytes), count, bytes; ends with 0xff */
	u8 registers[REGISTERS];
	u16 pointer;
	u8 page;
	int state;
};

DECLARE_CRC8_TABLE(pec_table);

static int write_registers(struct chip *chip, const u8 *bytes, int length)
{
	int i;

	if (length < chip->register_bytes)
		return 0;
	chip->pointer = chip->register_bytes == 1 ? bytes[0] : bytes[0] << 8 | bytes[1];
	chip->pointer &= chip->register_mask;
	for (i = chip->register_bytes; i < length; i++)
		chip->registers[(chip->pointer + i - chip->register_bytes) % REGISTERS] = bytes[i];
	return 0;
}

static int read_registers(struct chip *chip, u8 *bytes, int length)
{
	int i;

	for (i = 0; i < length; i++)
		bytes[i] = chip->registers[(chip->pointer + i) % REGISTERS];
	return 0;
}

/* SMBus words with a checksum (data sheet 3901090614, section 8.4): 26.85 and 28.75 degrees. */
static int mlx_write(struct chip *chip, const u8 *bytes, int length)
{
	if (length > 0)
		chip->pointer = bytes[0];
	return 0;
}

static int mlx_read(struct chip *chip, u8 *bytes, int length)
{
	u16 word = chip->pointer == 6 ? 0x3a98 : chip->pointer == 7 ? 0x3af7 : 0x1234;
	u8 frame[5] = { chip->address << 1, chip->pointer, chip->address << 1 | 1, word, word >> 8 };
	u8 answer[3] = { word, word >> 8, crc8(pec_table, frame, sizeof(frame), 0) };
	int i;

	for (i = 0; i < length; i++)
		bytes[i] = i < 3 ? answer[i] : 0xff;
	return 0;
}

/* Sleeps, and does not acknowledge what wakes it (data sheet AM2320, section 8.2): 65.2 percent, 35.1 degrees. */
static int am_write(struct chip *chip, const u8 *bytes, int length)
{
	static const u8 command[] = { 0x03, 0x00, 0x04 };

	if (!chip->state) {
		chip->state = 1;
		return -EREMOTEIO;
	}
	if (length == sizeof(command) && !memcmp(bytes, command, sizeof(command)))
		chip->state = 2;
	return 0;
}

static int am_read(struct chip *chip, u8 *bytes, int length)
{
	u8 frame[8] = { 0x03, 0x04, 0x02, 0x8c, 0x01, 0x5f };
	u16 crc = 0xffff;
	int i;

	if (chip->state != 2)
		return -EREMOTEIO;
	for (i = 0; i < 6 * 8; i++) {
		if (i % 8 == 0)
			crc ^= frame[i / 8];
		crc = crc & 1 ? crc >> 1 ^ 0xa001 : crc >> 1;
	}
	frame[6] = crc;
	frame[7] = crc >> 8;
	memcpy(bytes, frame, min_t(int, length, sizeof(frame)));
	chip->state = 0;
	return 0;
}

/* Pages by register 0xff, a strobe that is always ready, and a measurement that ends at once. */
static int vl0_write(struct chip *chip, const u8 *bytes, int length)
{
	int i;

	chip->pointer = bytes[0];
	for (i = 1; i < length; i++) {
		int reg = (chip->pointer + i - 1) & 0xff;

		if (reg == 0xff)
			chip->page = bytes[i] & 7;
		else
			chip->registers[chip->page << 8 | reg] = bytes[i];
	}
	return 0;
}

static int vl0_read(struct chip *chip, u8 *bytes, int length)
{
	static const u8 measured[][2] = {
		{ 0x00, 0 }, { 0x13, 4 }, { 0x14, 11 << 3 }, { 0x1e, 500 >> 8 }, { 0x1f, 500 & 0xff }, { 0xc0, 0xee },
	};
	int i, j;

	for (i = 0; i < length; i++) {
		int reg = (chip->pointer + i) & 0xff;

		bytes[i] = reg == 0x83 ? 1 : chip->registers[chip->page << 8 | reg];
		for (j = 0; !chip->page && j < ARRAY_SIZE(measured); j++)
			if (measured[j][0] == reg)
				bytes[i] = measured[j][1];
	}
	return 0;
}

/* A measurement is ready some reads after the last one was cleared. */
static int vl1_write(struct chip *chip, const u8 *bytes, int length)
{
	write_registers(chip, bytes, length);
	if (length > 2 && chip->pointer == 0x86)
		chip->state = 0;
	return 0;
}

static int vl1_read(struct chip *chip, u8 *bytes, int length)
{
	read_registers(chip, bytes, length);
	if (chip->pointer == 0x31)
		bytes[0] = chip->registers[0x87] == 0x40 && ++chip->state >= 4 ? 3 : 2;
	return 0;
}

/* One conversion when the bits for bias and one shot are set, which the chip clears. */
static int max_write(struct chip *chip, const u8 *bytes, int length)
{
	write_registers(chip, bytes, length);
	chip->registers[0] &= ~0x22;
	return 0;
}

#define VALUES(...) (const u8[]){ __VA_ARGS__, 0xff }

static const u8 amg_values[] = {
	0, 0x0e, 2, 0x90, 0x01,
	0, 0x80, 128,
#define FOUR 100, 0, 101, 0, 102, 0, 103, 0
	FOUR, FOUR, FOUR, FOUR, FOUR, FOUR, FOUR, FOUR, FOUR, FOUR, FOUR, FOUR, FOUR, FOUR, FOUR, FOUR,
	0xff,
};

static struct chip i2c_chips[] = {
	{ .bus = 2, .address = 0x5a, .write = mlx_write, .read = mlx_read },
	{ .bus = 2, .address = 0x5c, .register_bytes = 1, .register_mask = 0x7f, /* LPS22HB */
	  .values = VALUES(0, 0x0f, 1, 0xb1, 0, 0x11, 1, 0x10, 0, 0x28, 5, 0x00, 0x54, 0x3f, 0xc4, 0x09) },
	{ .bus = 2, .address = 0x5d, .register_bytes = 1, .register_mask = 0x7f, /* LPS25H */
	  .values = VALUES(0, 0x0f, 2, 0xbd, 0x05, 0, 0x28, 5, 0x00, 0x54, 0x3f, 0x30, 0xdf) },
	{ .bus = 2, .address = 0x18, .register_bytes = 1, .register_mask = 0x7f, /* LIS3DH */
	  .values = VALUES(0, 0x0f, 1, 0x33, 0, 0x1e, 3, 0x10, 0x00, 0x07, 0, 0x28, 6, 16, 0, 0, 0xff, 0, 0x20) },
	{ .bus = 2, .address = 0x1e, .register_bytes = 1, .register_mask = 0xff, /* HMC5883L */
	  .values = VALUES(0, 0x00, 13, 0x10, 0x20, 0x01, 0x02, 0x21, 0xff, 0x00, 0x00, 0x10, 0, 'H', '4', '3') },
	{ .bus = 2, .address = 0x68, .register_bytes = 1, .register_mask = 0xff, .values = amg_values },
	{ .bus = 2, .address = 0x60, .register_bytes = 1, .register_mask = 0xff, /* MCP9600 */
	  .values = VALUES(0, 0x00, 4, 0x01, 0x91, 0x01, 0x90, 0, 0x20, 2, 0x40, 0x12) },
	{ .bus = 2, .address = 0x29, .write = vl0_write, .read = vl0_read,
	  .values = VALUES(0, 0x01, 1, 0xff, 0, 0x50, 1, 6, 0, 0x70, 1, 4) },
	{ .bus = 3, .address = 0x29, .register_bytes = 2, .register_mask = 0x3ff, .write = vl1_write, .read = vl1_read,
	  .values = VALUES(0, 0x89, 1, 9, 0, 0x96, 2, 500 >> 8, 500 & 0xff, 0, 0xe5, 1, 3, 1, 0x0f, 2, 0xea, 0xcc) },
	{ .bus = 3, .address = 0x5c, .write = am_write, .read = am_read },
};

/* In the order of chip selects. The top bit of a register's number means a write (MAX31865) or a read (ADXL345). */
static struct chip spi_chips[] = {
	{ .register_bytes = 1, .register_mask = 0x7f, .write = max_write,
	  .values = VALUES(0, 0x01, 4, (8192 << 1) >> 8, (8192 << 1) & 0xff, 0xff, 0xff) },
	{ .register_bytes = 1, .register_mask = 0x3f,
	  .values = VALUES(0, 0x00, 1, 0xe5, 0, 0x2c, 1, 0x0a, 0, 0x32, 6, 10, 0, 0xf6, 0xff, 0x80, 0) },
};

static int write_chip(struct chip *chip, const u8 *bytes, int length)
{
	return chip->write ? chip->write(chip, bytes, length) : write_registers(chip, bytes, length);
}

static int read_chip(struct chip *chip, u8 *bytes, int length)
{
	return chip->read ? chip->read(chip, bytes, length) : read_registers(chip, bytes, length);
}

static void power_on(struct chip *chip)
{
	const u8 *at = chip->values;

	for (; at && *at != 0xff; at += 3 + at[2])
		memcpy(chip->registers + (at[0] << 8 | at[1]), at + 3, at[2]);
}

static int transfer(struct i2c_adapter *adapter, struct i2c_msg *messages, int count)
{
	int i, j;

	for (i = 0; i < count; i++) {
		struct i2c_msg *message = &messages[i];
		int result = -EREMOTEIO;

		for (j = 0; j < ARRAY_SIZE(i2c_chips); j++) {
			struct chip *chip = &i2c_chips[j];

			if (chip->bus != adapter->nr || chip->address != message->addr)
				continue;
			if (message->flags & I2C_M_RD)
				result = read_chip(chip, message->buf, message->len);
			else
				result = message->len ? write_chip(chip, message->buf, message->len) : 0;
		}
		if (result)
			return result;
	}
	return count;
}

static u32 functionality(struct i2c_adapter *adapter)
{
	return I2C_FUNC_I2C | I2C_FUNC_SMBUS_EMUL;
}

static const struct i2c_algorithm algorithm = { .master_xfer = transfer, .functionality = functionality };

static struct i2c_adapter adapters[] = {
	{ .owner = THIS_MODULE, .name = "simulated chips", .algo = &algorithm, .nr = 2 },
	{ .owner = THIS_MODULE, .name = "more simulated chips", .algo = &algorithm, .nr = 3 },
};

static int transfer_one(struct spi_master *master, struct spi_device *device, struct spi_transfer *transfer)
{
	struct chip *chip = &spi_chips[device->chip_select];
	const u8 *out = transfer->tx_buf;
	u8 *in = transfer->rx_buf;
	bool is_read;

	if (!out || transfer->len < 1)
		return -EINVAL;
	is_read = !!(out[0] & 0x80) == (device->chip_select == 1);
	if (!is_read)
		return write_chip(chip, out, transfer->len);
	write_registers(chip, out, 1);
	if (in)
		read_registers(chip, in + 1, transfer->len - 1);
	return 0;
}

static struct platform_device *parent;
static struct spi_master *master;

static int start_spi(void)
{
	struct spi_board_info board = { .modalias = "dh2228fv", .max_speed_hz = 10000000 }; /* one that spidev takes */
	int result;

	parent = platform_device_register_simple("sim_spi", -1, NULL, 0);
	if (IS_ERR(parent))
		return PTR_ERR(parent);
	master = spi_alloc_master(&parent->dev, 0);
	if (!master) {
		platform_device_unregister(parent);
		return -ENOMEM;
	}
	master->bus_num = 0;
	master->num_chipselect = ARRAY_SIZE(spi_chips);
	master->mode_bits = SPI_CPOL | SPI_CPHA | SPI_CS_HIGH;
	master->transfer_one = transfer_one;
	result = spi_register_master(master);
	if (result) {
		spi_master_put(master);
		platform_device_unregister(parent);
		return result;
	}
	for (board.chip_select = 0; board.chip_select < ARRAY_SIZE(spi_chips); board.chip_select++)
		spi_new_device(master, &board);
	return 0;
}

static int __init start(void)
{
	int i, result;

	crc8_populate_msb(pec_table, 0x07);
	for (i = 0; i < ARRAY_SIZE(i2c_chips); i++)
		power_on(&i2c_chips[i]);
	for (i = 0; i < ARRAY_SIZE(spi_chips); i++)
		power_on(&spi_chips[i]);
	for (i = 0; i < ARRAY_SIZE(adapters); i++) {
		result = i2c_add_numbered_adapter(&adapters[i]);
		if (result)
			return result;
	}
	return start_spi();
}

static void __exit stop(void)
{
	int i;

	spi_unregister_master(master);
	platform_device_unregister(parent);
	for (i = 0; i < ARRAY_SIZE(adapters); i++)
		i2c_del_adapter(&adapters[i]);
}

module_init(start);
module_exit(stop);
MODULE_LICENSE("GPL");
MODULE_DESCRIPTION("Simulated chips of Iot.Device.Bindings, for tests");
